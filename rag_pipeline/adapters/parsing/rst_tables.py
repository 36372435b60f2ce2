"""The two table forms of reStructuredText."""

import re

from rag_pipeline.adapters.parsing.document import table_text

_GRID_BORDER = re.compile(r"\s*\+(?:[-=]+\+)+\s*$")
_SIMPLE_BORDER = re.compile(r"\s*=+(?:\s+=+)+\s*$")


def is_border(line: str) -> bool:
    """Whether the line is the border of a table."""
    return bool(_GRID_BORDER.match(line) or _SIMPLE_BORDER.match(line))


def read_table(lines: list[str]) -> str:
    """One row a line, the header first."""
    return table_text(_grid_rows(lines) if _GRID_BORDER.match(lines[0]) else _simple_rows(lines))


def _grid_rows(lines: list[str]) -> list[list[str]]:
    rows: list[list[str]] = []
    cells: list[str] = []
    for line in lines:
        if _GRID_BORDER.match(line):
            if cells:
                rows.append(cells)
            cells = []
            continue
        pieces = [piece.strip() for piece in line.strip().strip("|").split("|")]
        cells = (
            [f"{above} {piece}" for above, piece in zip(cells, pieces, strict=False)]
            if len(cells) == len(pieces)
            else cells or pieces
        )
    return rows


def _simple_rows(lines: list[str]) -> list[list[str]]:
    starts = [match.start() for match in re.finditer(r"=+", lines[0])]
    rows: list[list[str]] = []
    for line in lines:
        if _SIMPLE_BORDER.match(line) or not line.strip():
            continue
        cells = [line[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]
        if cells[0] or not rows:
            rows.append(cells)
        else:
            rows[-1] = [f"{above} {cell}".strip() for above, cell in zip(rows[-1], cells, strict=True)]
    return rows
