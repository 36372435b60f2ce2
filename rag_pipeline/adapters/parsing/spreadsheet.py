"""Excel workbooks by openpyxl, cell for cell: unstructured goes through a table printer that rounds numbers to six digits."""

import datetime
import importlib
import io
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

from rag_pipeline.adapters.parsing.document import Draft, Original, table_text
from rag_pipeline.adapters.parsing.limits import current_limits
from rag_pipeline.adapters.parsing.office_facts import read_facts
from rag_pipeline.errors import ParseLimitError
from rag_pipeline.schema import Element, ElementKind

MAX_COLUMNS = 2_000
_Row = list[str]


def prepare() -> None:
    """Loads openpyxl."""
    importlib.import_module("openpyxl")


def parse(original: Original) -> Draft:
    """The tables of every visible sheet, under the sheet's name and 1-based number. Raises ParseLimitError (``limit_cells``)."""
    import openpyxl

    book = openpyxl.load_workbook(io.BytesIO(original.data), read_only=True, data_only=True, keep_links=False)
    with closing(book):
        facts = read_facts(book.properties)
        elements: list[Element] = []
        allowance = _Allowance()
        for number, sheet in enumerate(book.worksheets, start=1):
            if sheet.sheet_state == "visible":
                rows = list(_rows(sheet, allowance))
                elements += _sheet(rows, name=sheet.title, number=number)
        return Draft(title=str(facts.pop("title", "")), elements=elements, metadata=facts | {"sheets": book.sheetnames})


class _Allowance:
    """Cells and characters that the rest of the workbook may still have: one long text may stand in every cell."""

    def __init__(self) -> None:
        limits = current_limits()
        self._cells, self._characters = limits.cells, limits.output_bytes

    def take(self, cells: int, characters: int) -> None:
        """Raises ParseLimitError (``limit_cells``) when it is used up."""
        self._cells -= cells
        self._characters -= characters
        if self._cells < 0 or self._characters < 0:
            raise ParseLimitError(
                "xlsx: more cells, or more text in them, than parsing.max_cells and max_output_mb allow; split the workbook",
                reason="limit_cells",
            )


def _rows(sheet: Any, allowance: _Allowance) -> Iterator[_Row]:
    """Rows of cell texts, trailing empty cells left out. The size that a sheet claims is not believed."""
    sheet.reset_dimensions()
    for row in sheet.iter_rows(values_only=True):
        cells = [_cell(value) for value in row[:MAX_COLUMNS]]
        while cells and not cells[-1]:
            cells.pop()
        allowance.take(max(len(row), 1), sum(map(len, cells)))
        yield cells


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else _number(value)
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(sep=" ", timespec="seconds")
    return " ".join(str(value).split())


def _number(value: float) -> str:
    """Every digit, and no exponent where a person would write none."""
    is_usual = 1e-12 < abs(value) < 1e15
    return f"{Decimal(repr(value)):f}" if is_usual else repr(value)


def _sheet(rows: list[_Row], *, name: str, number: int) -> Iterator[Element]:
    """The sheet's name as a heading, then its blocks between empty rows."""
    if not any(rows):
        return
    yield Element(ElementKind.TITLE, name, (), number)
    block: list[_Row] = []
    for row in [*rows, []]:
        if row:
            block.append(row)
        elif block:
            yield from _block(block, name=name, number=number)
            block = []


def _block(rows: list[_Row], *, name: str, number: int) -> Iterator[Element]:
    """Lines of one cell around a table are text; the rest is the table, its first row the header."""
    start, end = 0, len(rows)
    while start < end and _is_note(rows[start]):
        start += 1
    while end > start and _is_note(rows[end - 1]):
        end -= 1
    if end - start < 2 and end > start:
        start, end = 0, len(rows)
    yield from (_note(row, name=name, number=number) for row in rows[:start])
    if start < end:
        yield Element(ElementKind.TABLE, table_text(_aligned(rows[start:end])), (name,), number)
    yield from (_note(row, name=name, number=number) for row in rows[end:])


def _aligned(rows: list[_Row]) -> Iterator[_Row]:
    """Rows without the columns that are empty at the left of all of them."""
    margin = min(next(column for column, cell in enumerate(row) if cell) for row in rows)
    return (row[margin:] for row in rows)


def _is_note(row: _Row) -> bool:
    return sum(map(bool, row)) == 1


def _note(row: _Row, *, name: str, number: int) -> Element:
    return Element(ElementKind.TEXT, " ".join(filter(None, row)), (name,), number)
