from rag_pipeline_tests.indexing.chunking.examples import chunk, heading, item, sentences, text


def test_one_slide_is_one_chunk_however_small() -> None:
    chunks = chunk(
        heading("Why", page=1), text("Because.", "Why", page=1), heading("How", page=2), text("Thus.", "How", page=2),
        strategy="slides", title="Talk",
    )  # fmt: skip
    assert [(each.page, each.text, each.context) for each in chunks] == [
        (1, "Why\n\nBecause.", "Talk"),
        (2, "How\n\nThus.", "Talk"),
    ]
    assert chunks[1].heading_path == ("How",)


def test_a_slide_of_a_heading_alone_goes_before_the_next() -> None:
    [only] = chunk(heading("Part", page=1), heading("How", page=2), text("Thus.", "How", page=2), strategy="slides")
    assert only.text == "Part\n\nHow\n\nThus."


def test_a_slide_longer_than_a_chunk_is_cut_as_prose_under_its_heading() -> None:
    chunks = chunk(heading("How", page=3), text(sentences(30), "How", page=3), strategy="slides", title="Talk")
    assert {each.page for each in chunks} == {3}
    assert {each.context for each in chunks[1:]} == {"Talk > How"}


def test_a_slide_without_a_heading_has_the_path_of_its_blocks() -> None:
    chunks = chunk(item("One.", "Part"), item("Two.", "Part"), strategy="slides", title="Talk")
    assert chunks[0].context == "Talk > Part"
