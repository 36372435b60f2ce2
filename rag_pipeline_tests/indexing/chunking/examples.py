"""Small documents and rules for tests that read as documentation. Sizes are in tokens of four characters at most."""

from rag_pipeline.indexing.chunking.document import chunk_document
from rag_pipeline.indexing.chunking.rules import ChunkingRule, Strategy
from rag_pipeline.schema import Chunk, DocumentType, Element, ElementKind, ParsedDocument
from rag_pipeline_tests.fakes.tokenizer import WordTokenizer

TOKENIZER = WordTokenizer()


def heading(text: str, *above: str, page: int | None = None) -> Element:
    return Element(ElementKind.TITLE, text, above, page)


def text(text: str, *headings: str, page: int | None = None) -> Element:
    return Element(ElementKind.TEXT, text, headings, page)


def item(text: str, *headings: str) -> Element:
    return Element(ElementKind.LIST_ITEM, text, headings)


def table(text: str, *headings: str, page: int | None = None) -> Element:
    return Element(ElementKind.TABLE, text, headings, page)


def code(text: str, *headings: str) -> Element:
    return Element(ElementKind.CODE, text, headings)


def sentences(count: int, word: str = "fact") -> str:
    """So many sentences of four tokens each."""
    return " ".join(f"{word.capitalize()} no {number:02d}." for number in range(count))


def chunk(
    *elements: Element,
    strategy: Strategy = "prose",
    size: int = 60,
    overlap: float = 0.0,
    target: float = 1.0,
    title: str = "",
    headings: bool = True,
    type: DocumentType = DocumentType.TEXT,  # noqa: A002
    **metadata: str,
) -> list[Chunk]:
    document = ParsedDocument(type, "any", title, elements, metadata)
    rule = ChunkingRule(strategy=strategy, size=size, overlap=overlap, target=target, heading_context=headings)
    return list(chunk_document(document, rule=rule, tokenizer=TOKENIZER))
