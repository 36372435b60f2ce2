from itertools import pairwise

from rag_pipeline.schema import Element, ElementKind
from rag_pipeline_tests.indexing.chunking.examples import TOKENIZER, chunk, code, heading, item, sentences, table, text


def test_a_section_that_fits_is_one_chunk_under_its_heading() -> None:
    chunks = chunk(
        heading("Install"),
        text(sentences(6), "Install"),
        heading("Upgrade"),
        text(sentences(6, "step"), "Upgrade"),
        title="Guide",
    )
    assert [each.heading_path for each in chunks] == [("Install",), ("Upgrade",)]
    assert chunks[0].text == f"Install\n\n{sentences(6)}"


def test_the_context_holds_the_title_and_the_headings_that_the_text_does_not() -> None:
    chunks = chunk(heading("Keys", "API"), text(sentences(20), "API", "Keys"), title="Guide")
    assert [each.context for each in chunks] == ["Guide > API", "Guide > API > Keys"]
    assert chunks[0].text.startswith("Keys\n\n")
    assert chunks[1].embedded_text.startswith("Guide > API > Keys\nFact")


def test_a_heading_that_the_title_says_already_is_not_repeated() -> None:
    chunks = chunk(text(sentences(6), "Built-in Types", "int"), title="Built-in Types - Manual")
    assert chunks[0].context == "Built-in Types - Manual > int"


def test_no_context_where_the_rule_wants_none() -> None:
    chunks = chunk(heading("Keys"), text(sentences(20), "Keys"), title="Guide", headings=False)
    assert {each.context for each in chunks} == {""}
    assert {each.heading_path for each in chunks} == {("Keys",)}


def test_where_headings_do_not_fit_the_outer_ones_go_and_the_title_stays() -> None:
    path = ("An outer heading of many words", "Another heading of many words", "Keys")
    assert chunk(text(sentences(3), *path), title="Guide")[0].context == "Guide > Another heading of many words > Keys"


def test_tiny_sections_join_their_siblings_and_carry_the_path_they_share() -> None:
    parts = [part for name in ("a", "b", "c") for part in (heading(name, "API"), text(f"Says {name}.", "API", name))]
    [only] = chunk(*parts)
    assert only.text == "a\n\nSays a.\n\nb\n\nSays b.\n\nc\n\nSays c."
    assert only.heading_path == ("API",)


def test_the_end_of_a_long_section_does_not_join_the_next_heading() -> None:
    chunks = chunk(heading("A"), text(sentences(20), "A"), heading("B"), text(sentences(6), "B"))
    assert [each.heading_path for each in chunks] == [("A",), ("A",), ("B",)]


def test_a_part_of_the_outline_that_fits_stays_together_and_apart_from_its_neighbours() -> None:
    def part(name: str, count: int) -> list[Element]:
        return [heading(name, "Guide"), *(text(sentences(count), "Guide", name, sub) for sub in ("x", "y"))]

    chunks = chunk(heading("Guide"), text("Intro.", "Guide"), *part("A", 4), *part("B", 4))
    assert [each.heading_path for each in chunks] == [("Guide",), ("Guide", "B")]


def test_chunks_come_near_the_length_aimed_at() -> None:
    chunks = chunk(text(sentences(100)), size=120, target=0.5)
    assert all(48 <= each.token_count <= 75 for each in chunks)


def test_what_is_little_longer_than_the_length_aimed_at_is_not_cut() -> None:
    [only] = chunk(text(sentences(17)), size=120, target=0.5)
    assert only.token_count == 70


def test_code_longer_than_the_length_aimed_at_stays_whole_where_it_fits() -> None:
    block = "\n".join(f"call({number})" for number in range(25))
    chunks = chunk(text(sentences(9)), code(block), text(sentences(9)), size=120, target=0.4)
    assert block in [each.text for each in chunks]


def test_a_long_section_is_cut_at_sentences_into_even_pieces() -> None:
    chunks = chunk(text(sentences(20)))
    assert [each.token_count for each in chunks] == [42, 42]
    assert all(each.text.endswith(".") and each.text.startswith("Fact") for each in chunks)


def test_a_border_of_paragraphs_is_preferred_to_one_of_sentences() -> None:
    chunks = chunk(text(sentences(9)), text(sentences(12, "step")))
    assert [each.text for each in chunks] == [sentences(9), sentences(12, "step")]


def test_whole_sentences_are_repeated_up_to_the_share() -> None:
    chunks = chunk(text(sentences(20)), overlap=0.15)
    for before, after in pairwise(chunks):
        repeated = before.text[after.start - before.start :]
        assert repeated.startswith("Fact")
        assert repeated.endswith(".")
        assert 0 < TOKENIZER.count(repeated) <= 9


def test_nothing_is_repeated_across_a_heading() -> None:
    chunks = chunk(heading("A"), text(sentences(9), "A"), heading("B"), text(sentences(9), "B"), overlap=0.2)
    assert chunks[1].start > chunks[0].end


def test_a_heading_goes_with_the_text_below_it() -> None:
    chunks = chunk(heading("Part"), heading("Chapter", "Part"), text(sentences(20), "Part", "Chapter"))
    assert chunks[0].text.startswith("Part\n\nChapter\n\nFact")
    assert chunks[0].heading_path == ("Part", "Chapter")
    assert chunks[0].context == ""


def test_a_heading_goes_with_the_beginning_of_a_block_that_is_too_long_for_both() -> None:
    block = "\n".join(f"call({number:02d})" for number in range(13))
    chunks = chunk(heading("A heading of several words"), code(block, "A heading of several words"), headings=False)
    assert chunks[0].text.startswith("A heading of several words\n\ncall(00)")


def test_a_part_of_a_larger_section_does_not_join_the_next_section() -> None:
    chunks = chunk(
        *(text(sentences(9), "Guide", "A", "x"), text(sentences(5), "Guide", "A", "y"), text(sentences(5), "Guide", "B")), size=60
    )
    assert [each.heading_path for each in chunks] == [("Guide", "A", "x"), ("Guide", "A", "y"), ("Guide", "B")]


def test_a_stop_inside_a_word_is_no_border() -> None:
    chunks = chunk(text("Hello.World is and " * 20), size=30)
    assert not any(each.text.startswith("World") for each in chunks)


def test_a_last_heading_without_text_stays_with_the_section_before_it() -> None:
    [only] = chunk(heading("A"), text("Says a.", "A"), heading("End"))
    assert only.text.endswith("End")


def test_code_and_list_items_that_fit_stay_whole() -> None:
    block = "if ready:\n    run()\n    stop()"
    long_item = sentences(8, "item")
    chunks = chunk(text(sentences(6)), code(block), item(long_item), text(sentences(6)))
    assert sum(block in each.text for each in chunks) == 1
    assert sum(long_item in each.text for each in chunks) == 1


def test_a_long_table_in_a_text_repeats_its_header_and_takes_its_heading_along() -> None:
    rows = "\n".join(f"Mouse {number:02d} | grey" for number in range(30))
    chunks = chunk(heading("Fur"), table(f"Animal | Colour\n{rows}", "Fur"), text("After it.", "Fur"))
    assert chunks[0].text.startswith("Fur\n\nAnimal | Colour\nMouse 00")
    assert {each.context for each in chunks[1:-1]} == {"Fur\nAnimal | Colour"}
    assert chunks[-1].text == "After it."
    assert [chunks[0].kind, chunks[-1].kind] == [ElementKind.TABLE, ElementKind.TEXT]


def test_an_edit_changes_only_the_chunks_near_it() -> None:
    paragraphs = [sentences(5, f"w{number:02d}") for number in range(40)]
    before = {each.text for each in chunk(*map(text, paragraphs))}
    paragraphs[20] = "Another text. " + paragraphs[20]
    after = {each.text for each in chunk(*map(text, paragraphs))}
    assert len(after - before) <= 3


def test_sentences_without_blanks_between_them_are_borders_too() -> None:
    chunks = chunk(text("가나다라 마바사아. " * 12), text("汉字没有空格。" * 20), size=40)
    assert all(each.text[-1] in ".。" for each in chunks)
