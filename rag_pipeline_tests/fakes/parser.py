"""A Parser without processes: paragraphs of UTF-8 text, headings where a line begins with ``#``."""

from collections.abc import Iterable, Iterator

from rag_pipeline.errors import DocumentError, EmptyDocumentError, ParseError
from rag_pipeline.ports import ParseOutcome, ParseRequest
from rag_pipeline.schema import DocumentType, Element, ElementKind, ParsedDocument


class FakeParser:
    """Reads text and Markdown; ``version`` stands for the versions of the real parsers."""

    def __init__(self, version: int = 1) -> None:
        self.version = version
        self.parsed: list[str] = []
        """Ids of the documents that were parsed, in order."""

    def fingerprint(self, document_type: DocumentType | None) -> str:
        return f"fake-{document_type.value if document_type else 'detection'}-{self.version}"

    def parse_all(self, requests: Iterable[ParseRequest]) -> Iterator[ParseOutcome]:
        for request in requests:
            self.parsed.append(request.document_id)
            yield _parse(request)

    def close(self) -> None:
        """Nothing to end."""


def _parse(request: ParseRequest) -> ParseOutcome:
    if b"\0" in request.data:
        error: DocumentError = ParseError("a binary file", reason="unsupported_type")
        return ParseOutcome(request.document_id, None, error)
    document_type = DocumentType.MARKDOWN if request.path.endswith(".md") else DocumentType.TEXT
    elements = tuple(_elements(request.data.decode("utf-8-sig"), document_type))
    if not elements:
        return ParseOutcome(request.document_id, document_type, EmptyDocumentError("no text came out"))
    title = next((element.text for element in elements if element.kind is ElementKind.TITLE), "")
    format_name = document_type.value
    return ParseOutcome(request.document_id, document_type, ParsedDocument(document_type, format_name, title, elements))


def _elements(text: str, document_type: DocumentType) -> Iterator[Element]:
    path: tuple[str, ...] = ()
    for block in filter(None, map(str.strip, text.split("\n\n"))):
        if document_type is DocumentType.MARKDOWN and block.startswith("# "):
            path = (block.removeprefix("# "),)
            yield Element(ElementKind.TITLE, path[0])
        else:
            yield Element(ElementKind.TEXT, " ".join(block.split()), path)
