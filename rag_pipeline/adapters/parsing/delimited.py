"""Tables in plain text: comma, semicolon, tab or bar between the cells."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from rag_pipeline.adapters.parsing.document import Draft, Original, table_text
from rag_pipeline.errors import ParseLimitError
from rag_pipeline.schema import Element, ElementKind

MAX_CELL_CHARACTERS = 1024 * 1024
"""A longer cell is no cell but a quote that never closes."""

_SAMPLE_ROWS = 50
_EVEN_SHARE = 0.6
_DELIMITERS = ",;\t|"


def parse(original: Original) -> Draft:
    """One table of all rows, its first row as the header. Raises ParseLimitError (``field``) for a runaway cell."""
    text = original.text.replace("\0", "")
    delimiter = "\t" if original.format == "tsv" and "\t" in text else _delimiter(text)
    try:
        rows = [row for row in _rows(text, delimiter) if any(cell.strip() for cell in row)]
    except csv.Error:
        raise ParseLimitError(
            f"csv: a cell of more than {MAX_CELL_CHARACTERS} characters; close its quote", reason="field"
        ) from None
    facts = {"rows": max(len(rows) - 1, 0), "columns": max(map(len, rows), default=0)}
    return Draft(elements=[Element(ElementKind.TABLE, table_text(rows))], metadata=facts)


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
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
