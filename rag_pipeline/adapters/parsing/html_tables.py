"""Tables of a page as rows of text, spans filled in."""

from rag_pipeline.adapters.parsing.document import table_text
from rag_pipeline.adapters.parsing.html_tree import Node, inline_text

_MAX_SPAN = 100
_LAYOUT_CONTENT = ("table", "h1", "h2", "h3", "h4", "h5", "h6", "form")


def is_layout(table: Node) -> bool:
    """Whether the table only places things: a single row, or headings or tables inside."""
    if next(table.iterdescendants(*_LAYOUT_CONTENT), None) is not None:
        return True
    return len(list(table.iter("tr"))) < 2


def read_table(table: Node) -> str:
    """One row a line, the header first; a cell over several rows or columns stands in each row and once a row."""
    return table_text(_grid(table))


def _grid(table: Node) -> list[list[str]]:
    rows: list[list[str]] = []
    hanging: dict[int, tuple[int, str]] = {}
    for row in table.iter("tr"):
        cells: list[str] = []
        below: dict[int, tuple[int, str]] = {}
        for cell in row.iterchildren("td", "th"):
            _hang(cells, hanging, below=below)
            text, column = inline_text(cell), len(cells)
            span = _span(cell, "rowspan")
            if span > 1:
                below[column] = (span - 1, text)
            cells += [text] + [""] * (_span(cell, "colspan") - 1)
        _hang(cells, hanging, below=below)
        hanging = below
        rows.append(cells)
    return rows


def _hang(cells: list[str], hanging: dict[int, tuple[int, str]], *, below: dict[int, tuple[int, str]]) -> None:
    """Adds the cells from rows above that reach into the next columns."""
    while len(cells) in hanging:
        left, text = hanging.pop(len(cells))
        if left > 1:
            below[len(cells)] = (left - 1, text)
        cells.append(text)


def _span(cell: Node, name: str) -> int:
    value = (cell.get(name) or "1").strip()
    return min(max(int(value), 1), _MAX_SPAN) if value.isdecimal() and len(value) < 6 else 1
