from rag_pipeline.schema import ElementKind
from rag_pipeline_tests.indexing.chunking.examples import chunk, heading, table, text

ROWS = [f"Mouse {number:02d} | grey" for number in range(24)]


def test_rows_stay_whole_and_every_piece_knows_its_header() -> None:
    chunks = chunk(
        heading("Fur", page=1), table("\n".join(["Animal | Colour", *ROWS]), "Fur", page=1), strategy="table", title="Zoo"
    )
    assert chunks[0].text.startswith("Fur\n\nAnimal | Colour\nMouse 00 | grey\n")
    assert chunks[0].context == "Zoo"
    assert {each.context for each in chunks[1:]} == {"Zoo > Fur\nAnimal | Colour"}
    assert [line for each in chunks for line in each.text.splitlines() if line.startswith("Mouse")] == ROWS


def test_a_table_that_fits_is_one_chunk() -> None:
    [only] = chunk(table("Animal | Colour\nFox | red"), strategy="table")
    assert only.kind is ElementKind.TABLE


def test_two_tables_never_share_a_chunk() -> None:
    chunks = chunk(table("a | b\n1 | 2"), table("c | d\n3 | 4"), text("A note."), strategy="table")
    assert [each.text for each in chunks] == ["a | b\n1 | 2", "c | d\n3 | 4", "A note."]


def test_a_row_longer_than_a_chunk_is_cut_at_words_and_keeps_its_header() -> None:
    chunks = chunk(table("Animal | Story\nFox | " + "ran far " * 60), strategy="table")
    assert len(chunks) > 2
    assert {each.context for each in chunks[1:]} == {"Animal | Story"}
    assert all(each.text.startswith(("Animal", "Fox", "ran", "far")) for each in chunks)


def test_a_header_of_many_columns_is_cut_to_its_share() -> None:
    header = " | ".join(f"column {number}" for number in range(40))
    chunks = chunk(table("\n".join([header, *ROWS])), strategy="table")
    assert chunks[-1].context.startswith("column 0 | column 1")
    assert len(chunks[-1].context) < len(header) / 4


def test_notes_of_two_sheets_stay_apart() -> None:
    chunks = chunk(text("Bye.", "One", page=1), heading("Two", page=2), text("Hello.", "Two", page=2), strategy="table")
    assert [(each.page, each.text) for each in chunks] == [(1, "Bye."), (2, "Two\n\nHello.")]
