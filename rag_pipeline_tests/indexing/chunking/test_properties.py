"""What holds for every document, every rule and every tokenizer."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_pipeline.adapters.huggingface_tokenizer import HuggingFaceTokenizer
from rag_pipeline.indexing.chunking.document import STRATEGIES, chunk_document, document_text
from rag_pipeline.indexing.chunking.measured import BLANK
from rag_pipeline.indexing.chunking.ruler import measure_additivity
from rag_pipeline.indexing.chunking.rules import ChunkingRule, Strategy
from rag_pipeline.indexing.chunking.sections import title_path
from rag_pipeline.ports import Tokenizer
from rag_pipeline.schema import Chunk, DocumentType, Element, ElementKind, ParsedDocument
from rag_pipeline_tests.fakes.tokenizer import BlankCountingTokenizer, WordTokenizer
from rag_pipeline_tests.indexing.chunking.documents import DOCUMENTS
from rag_pipeline_tests.indexing.chunking.tokenizers import make_byte_pair_folder, packaged_tokenizer


@dataclass(frozen=True)
class Case:
    document: ParsedDocument
    rule: ChunkingRule
    prompt_tokens: int


CASES = st.builds(
    Case,
    document=DOCUMENTS,
    rule=st.builds(
        ChunkingRule,
        strategy=st.sampled_from(get_args(Strategy)),
        size=st.sampled_from([16, 24, 48, 96, 512]),
        overlap=st.sampled_from([0.0, 0.1, 0.15, 0.2, 0.45]),
        target=st.sampled_from([0.1, 0.5, 0.5, 1.0]),
        heading_context=st.booleans(),
    ),
    prompt_tokens=st.integers(0, 4),
)


@cache
def byte_pair_tokenizer() -> HuggingFaceTokenizer:
    with TemporaryDirectory() as folder:
        return HuggingFaceTokenizer(make_byte_pair_folder(Path(folder)))


EXAMPLES = 80
TOKENIZERS = {
    "word-piece": (packaged_tokenizer, EXAMPLES),
    "byte-pair": (byte_pair_tokenizer, EXAMPLES // 2),
    "fake": (cache(WordTokenizer), EXAMPLES),
    "fake counting blanks": (cache(BlankCountingTokenizer), EXAMPLES // 2),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_chunks_keep_the_size_and_rebuild_the_text(name: str) -> None:
    make, examples = TOKENIZERS[name]

    @settings(max_examples=examples, deadline=None)
    @given(case=CASES)
    def check(case: Case) -> None:
        tokenizer = make()
        chunks = chunk_document(case.document, rule=case.rule, tokenizer=tokenizer, prompt_tokens=case.prompt_tokens)
        _check_sizes(chunks, case, tokenizer)
        _check_spans(chunks, case)
        _check_overlaps(chunks, case, tokenizer)
        _check_places(chunks, case)
        again = chunk_document(case.document, rule=case.rule, tokenizer=tokenizer, prompt_tokens=case.prompt_tokens)
        assert again == chunks

    check()


PAST_FAILURES = {
    "a repeated sentence before a blank line": Case(
        ParsedDocument(
            DocumentType.TEXT,
            "any",
            "",
            (Element(ElementKind.TITLE, "retention a. " + "Again. " * 30), Element(ElementKind.TITLE, "a U.S. f(): ")),
        ),
        ChunkingRule(size=16, overlap=0.45, target=1, heading_context=False),
        prompt_tokens=0,
    ),
    "a halved piece before a repetition": Case(
        ParsedDocument(DocumentType.TEXT, "any", "", (Element(ElementKind.TEXT, "ภาษาไทยไม่มีช่องว่าง f(): a a a a ", ("Part",)),)),
        ChunkingRule(strategy="fixed", size=16, overlap=0.2, target=1),
        prompt_tokens=4,
    ),
    "a form feed before indentation": Case(
        ParsedDocument(
            DocumentType.TEXT,
            "any",
            "",
            (Element(ElementKind.TEXT, "a", (), 1), Element(ElementKind.TEXT, "\x0c. " + "Again. " * 30, (), 2)),
        ),
        ChunkingRule(strategy="code", size=16, target=1),
        prompt_tokens=0,
    ),
}


@pytest.mark.parametrize("case", PAST_FAILURES.values(), ids=PAST_FAILURES)
def test_what_once_went_wrong_stays_mended(case: Case) -> None:
    tokenizer = WordTokenizer()
    chunks = chunk_document(case.document, rule=case.rule, tokenizer=tokenizer, prompt_tokens=case.prompt_tokens)
    _check_sizes(chunks, case, tokenizer)
    _check_spans(chunks, case)
    _check_overlaps(chunks, case, tokenizer)
    _check_places(chunks, case)


def _check_sizes(chunks: tuple[Chunk, ...], case: Case, tokenizer: Tokenizer) -> None:
    for chunk in chunks:
        count = tokenizer.count(chunk.embedded_text) + tokenizer.special_tokens + case.prompt_tokens
        assert chunk.token_count == count
        assert count <= case.rule.size
        assert case.rule.heading_context or case.document.title[:5] not in chunk.context or not case.document.title


def _check_spans(chunks: tuple[Chunk, ...], case: Case) -> None:
    text = document_text(case.document)
    end = 0
    for ordinal, chunk in enumerate(chunks):
        assert chunk.ordinal == ordinal
        assert chunk.text == text[chunk.start : chunk.end]
        assert chunk.text.strip()
        assert chunk.end > end or chunk.start >= end
        assert not text[end : chunk.start].strip()
        end = chunk.end
    assert not text[end:].strip()
    starts = [chunk.start for chunk in chunks]
    assert starts == sorted(set(starts))


def _check_overlaps(chunks: tuple[Chunk, ...], case: Case, tokenizer: Tokenizer) -> None:
    """Never more than the share; where parts of words stand at an edge their own count may pass that of the whole word."""
    text = document_text(case.document)
    share = int(case.rule.overlap * case.rule.size)
    for before, chunk in pairwise(chunks):
        repeated = text[chunk.start : before.end]
        assert share or not repeated
        is_whole = text[chunk.start - 1 : chunk.start] in BLANK and text[before.end : before.end + 1] in {"", *BLANK}
        if is_whole and measure_additivity(tokenizer).is_exact:
            assert tokenizer.count(repeated) <= share
        assert len(tokenizer.spans([text[: before.end]])[0]) - len(tokenizer.spans([text[: chunk.start]])[0]) <= share + 8


def _check_places(chunks: tuple[Chunk, ...], case: Case) -> None:
    """The page is that of an element that the chunk touches; the headings are those of one, or of a title before it."""
    spans = list(_element_spans(case.document))
    for chunk in chunks:
        touched = [element for start, end, element in spans if start < chunk.end and end > chunk.start]
        assert chunk.page in {element.page for element in touched}
        if touched[-1].kind is ElementKind.TITLE:
            continue  # A heading longer than a chunk goes under the path of what follows it.
        titles = [element for start, _, element in spans if element.kind is ElementKind.TITLE and start < chunk.end]
        paths = {element.heading_path for element in touched} | {title_path(title) for title in titles}
        assert any(path[: len(chunk.heading_path)] == chunk.heading_path for path in paths)


def _element_spans(document: ParsedDocument) -> Iterator[tuple[int, int, Element]]:
    start = 0
    for element in document.elements:
        if element.text.strip():
            yield start, start + len(element.text), element
        start += len(element.text) + 2


def test_every_strategy_of_the_settings_is_in_the_table() -> None:
    assert set(STRATEGIES) == set(get_args(Strategy))
