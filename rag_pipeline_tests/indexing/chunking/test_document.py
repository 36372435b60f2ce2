import time
from collections.abc import Callable

import pytest

from rag_pipeline.errors import DocumentError, SettingsError
from rag_pipeline.indexing.chunking.document import chunk_document, document_text
from rag_pipeline.indexing.chunking.ruler import measure_additivity
from rag_pipeline.indexing.chunking.rules import ChunkingRule
from rag_pipeline.ports import Tokenizer
from rag_pipeline.schema import DocumentType, Element, ElementKind, ParsedDocument
from rag_pipeline_tests.fakes.tokenizer import BlankCountingTokenizer, WordTokenizer
from rag_pipeline_tests.indexing.chunking.examples import chunk, code, heading, item, sentences, text
from rag_pipeline_tests.indexing.chunking.test_properties import byte_pair_tokenizer
from rag_pipeline_tests.indexing.chunking.tokenizers import packaged_tokenizer


def make_document(*texts: str, kind: ElementKind = ElementKind.TEXT) -> ParsedDocument:
    return ParsedDocument(DocumentType.TEXT, "txt", "", tuple(Element(kind, each) for each in texts))


def test_the_text_of_a_document_is_its_elements_with_blank_lines_between() -> None:
    assert document_text(make_document("One.", "Two.")) == "One.\n\nTwo."


def test_a_document_without_text_has_no_chunks() -> None:
    assert chunk_document(make_document(), rule=ChunkingRule(), tokenizer=WordTokenizer()) == ()
    assert chunk_document(make_document("", " \n"), rule=ChunkingRule(), tokenizer=WordTokenizer()) == ()


def test_the_prompt_and_the_special_tokens_count() -> None:
    document = make_document(sentences(40))
    plain = chunk_document(document, rule=ChunkingRule(size=64), tokenizer=WordTokenizer())
    prompted = chunk_document(document, rule=ChunkingRule(size=64), tokenizer=WordTokenizer(), prompt_tokens=30)
    assert max(each.token_count for each in prompted) <= 64
    assert len(prompted) > len(plain)
    assert prompted[0].token_count == WordTokenizer().count(prompted[0].text) + 2 + 30


@pytest.mark.parametrize("make", [packaged_tokenizer, byte_pair_tokenizer], ids=["word-piece", "byte-pair"])
@pytest.mark.parametrize("prompt", ["passage: ", "search_document:", "Represent this"])
def test_prompt_and_chunk_together_stay_within_the_size(make: Callable[[], Tokenizer], prompt: str) -> None:
    tokenizer = make()
    document = make_document(*[sentences(9, f"word{number}") for number in range(9)])
    rule = ChunkingRule(size=40, target=1)
    chunks = chunk_document(document, rule=rule, tokenizer=tokenizer, prompt_tokens=tokenizer.count(prompt))
    assert max(tokenizer.count(prompt + each.embedded_text) + tokenizer.special_tokens for each in chunks) <= 40


def test_a_size_that_the_prompt_uses_up_is_refused() -> None:
    with pytest.raises(SettingsError, match="document_prompt"):
        chunk_document(make_document("a"), rule=ChunkingRule(size=16), tokenizer=WordTokenizer(), prompt_tokens=7)


def test_a_chunk_has_the_page_on_which_its_own_text_begins() -> None:
    chunks = chunk(text(sentences(11), page=1), text(sentences(11, "step"), page=2), overlap=0.2)
    assert [each.page for each in chunks] == [1, 2]
    assert chunks[1].start < chunks[0].end


@pytest.mark.parametrize(
    ("elements", "kind"),
    [
        ([heading("A"), text("b", "A")], ElementKind.TEXT),
        ([heading("A"), item("b", "A"), item("c", "A")], ElementKind.LIST_ITEM),
        ([text("a"), code("b")], ElementKind.TEXT),
        ([heading("A")], ElementKind.TITLE),
    ],
)
def test_a_chunk_is_of_the_kind_that_all_its_elements_share(elements: list[Element], kind: ElementKind) -> None:
    [only] = chunk(*elements)
    assert only.kind is kind


def test_word_pieces_add_up_at_blanks_and_byte_pairs_do_not() -> None:
    assert measure_additivity(packaged_tokenizer()).is_exact
    assert not measure_additivity(byte_pair_tokenizer()).is_exact
    assert measure_additivity(WordTokenizer()).is_exact
    assert not measure_additivity(BlankCountingTokenizer()).is_exact


LINES = {
    "letters": "x" * 60_000,
    "ideographs": "汉字" * 4_000,
    "words": "word " * 12_000,
    "thai": "ภาษาไทย" * 2_000,
    "families": "👨‍👩‍👧‍👦" * 1_000,
    "marks": "a" + "\u0301" * 8_000,
    "invisible": "\u200b" * 60_000,
    "code": "a.b," * 6_000,
}


@pytest.mark.parametrize("strategy", ["prose", "table", "code", "slides", "email", "fixed"])
@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_line_of_any_length_is_cut(line: str, strategy: str) -> None:
    tokenizer = packaged_tokenizer()
    rule = ChunkingRule(strategy=strategy, size=128)
    chunks = chunk_document(make_document(line), rule=rule, tokenizer=tokenizer)
    assert [each.token_count for each in chunks] == [tokenizer.count(each.embedded_text) + 2 for each in chunks]
    assert max(each.token_count for each in chunks) <= 128
    assert max(len(each.text) for each in chunks) <= 128 * 24
    end = 0
    for each in chunks:
        assert not line[end : each.start].strip()
        end = each.end
    assert end == len(line.rstrip())


def test_the_parts_of_a_cut_word_are_counted_again() -> None:
    tokenizer = packaged_tokenizer()
    word = "pneumonoultramicroscopicsilicovolcanoconiosis" * 2
    chunks = chunk_document(make_document(word), rule=ChunkingRule(size=16), tokenizer=tokenizer)
    assert "".join(each.text for each in chunks) == word
    assert [each.token_count for each in chunks] == [tokenizer.count(each.text) + 2 for each in chunks]


def test_characters_of_several_signs_stay_whole() -> None:
    family = "👨‍👩‍👧‍👦"
    chunks = chunk_document(make_document(family * 500), rule=ChunkingRule(size=64), tokenizer=WordTokenizer())
    assert all(each.text == family * (len(each.text) // len(family)) for each in chunks)


class ShiftyTokenizer(WordTokenizer):
    """Counts far more than its spans promise."""

    def count(self, text: str) -> int:
        return 100 * len(text)


def test_a_sign_with_more_tokens_than_a_chunk_holds_is_refused() -> None:
    with pytest.raises(DocumentError, match="single character"):
        chunk_document(make_document("字" * 400), rule=ChunkingRule(size=64), tokenizer=ShiftyTokenizer())


def test_a_long_document_takes_time_in_proportion() -> None:
    def seconds(paragraphs: int) -> float:
        document = make_document(*[sentences(30)] * paragraphs)
        start = time.perf_counter()
        chunk_document(document, rule=ChunkingRule(), tokenizer=WordTokenizer())
        return time.perf_counter() - start

    seconds(10)
    assert seconds(800) < 4 * 8 * max(seconds(100), 0.001)
