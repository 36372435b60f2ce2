"""Tables in plain text: comma, semicolon, tab or bar between the cells."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from rag_pipeline.adapters.parsing.document import Draft, Original, table_text
from rag_pipeline.adapters.parsing.limits import current_limits
from rag_pipeline.errors import ParseLimitError
from rag_pipeline.schema import Element, ElementKind

_SAMPLE_ROWS = 50
_EVEN_SHARE = 0.6
_DELIMITERS = ",;\t|"


def parse(original: Original) -> Draft:
    """One table of all rows, its first row as the header. Raises ParseLimitError: ``limit_field``, ``limit_cells``."""
    text = original.text.replace("\0", "")
    delimiter = "\t" if original.format == "tsv" and "\t" in text else _delimiter(text)
    try:
        rows = list(_counted(row for row in _rows(text, delimiter) if any(cell.strip() for cell in row)))
    except csv.Error:
        raise ParseLimitError(
            f"csv: a cell of more than {current_limits().field_characters} characters; close its quote", reason="limit_field"
        ) from None
    facts = {"rows": max(len(rows) - 1, 0), "columns": max(map(len, rows), default=0)}
    return Draft(elements=[Element(ElementKind.TABLE, table_text(rows))], metadata=facts)


def _counted(rows: Iterator[list[str]]) -> Iterator[list[str]]:
    most = left = current_limits().cells
    for row in rows:
        left -= len(row)
        if left < 0:
            raise ParseLimitError(f"csv: more than {most} cells (parsing.max_cells); split the table", reason="limit_cells")
        yield row


def is_tabular(text: str) -> bool:
    """Whether the first rows have the same two or more columns, or only leave out some that the header names."""
    try:
        widths = list(_widths(text, _delimiter(text)))
    except csv.Error:
        return True  # a quote that never closes is for `parse` to refuse
    width, count = Counter(widths).most_common(1)[0] if widths else (0, 0)
    is_even = width >= 2 and count >= _EVEN_SHARE * len(widths)
    is_headed = len(widths) > 2 and 3 <= widths[0] == max(widths) and min(widths) >= 2
    return is_even or is_headed


def _delimiter(text: str) -> str:
    """The delimiter that cuts most of the first rows into the same number of cells, the more cells the better."""

    def score(delimiter: str) -> tuple[float, int]:
        try:
            widths = Counter(_widths(text, delimiter))
        except csv.Error:
            return 0.0, 0
        width, count = widths.most_common(1)[0] if widths else (0, 0)
        return (count / widths.total(), width) if width >= 2 else (0.0, 0)

    return max(_DELIMITERS, key=score)


def _widths(text: str, delimiter: str) -> Iterator[int]:
    rows = islice(_rows(text, delimiter), _SAMPLE_ROWS)
    return (len(row) for row in rows if any(cell.strip() for cell in row))


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    csv.field_size_limit(current_limits().field_characters)
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
