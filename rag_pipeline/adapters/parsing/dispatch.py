"""One document to its elements: the type told, the parser of that type run, every text cleaned."""

import contextlib
import importlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from types import ModuleType

from rag_pipeline.adapters.parsing.detection import identify
from rag_pipeline.adapters.parsing.document import Draft, Original
from rag_pipeline.errors import DocumentError, EmptyDocumentError, ParseError, ParseLimitError
from rag_pipeline.indexing.cleaning import clean_text, hides_characters
from rag_pipeline.schema import DocumentType, Element, ElementKind, Flag, ParsedDocument

_MODULES = {
    DocumentType.TEXT: "plain_text",
    DocumentType.MARKDOWN: "markdown",
    DocumentType.RST: "restructuredtext",
    DocumentType.HTML: "html",
    DocumentType.PDF: "pdf",
    DocumentType.WORD: "word",
    DocumentType.SLIDES: "slides",
    DocumentType.TABLE: "delimited",
    DocumentType.EMAIL: "mail",
    DocumentType.CODE: "source_code",
}
_UNBROKEN_CHARACTERS = 4 << 20
_FORMAT_MODULES = {"xlsx": "spreadsheet"}


def parser_of(document_type: DocumentType, format_name: str = "") -> ModuleType:
    """The module that parses the type; importing it is cheap, unstructured comes with its first document."""
    name = _FORMAT_MODULES.get(format_name, _MODULES[document_type])
    return importlib.import_module(f"rag_pipeline.adapters.parsing.{name}")


def parse_document(data: bytes, path: str) -> ParsedDocument:
    """Detected, parsed and cleaned in this process. Raises ParseError, ParseLimitError or EmptyDocumentError."""
    with failures_translated("type detection"):
        original = identify(data, path)
    return parse_original(original)


def parse_original(original: Original) -> ParsedDocument:
    """The parsed and cleaned document. Raises as `parse_document`."""
    module = parser_of(original.type, original.format)
    try:
        draft: Draft = module.parse(original)
    except (DocumentError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  a library fails on hostile bytes in any way it likes
        raise ParseError(
            f"{original.format}: the parser failed with {type(error).__name__}; repair or replace the file"
        ) from None
    elements = tuple(_cleaned(draft.elements))
    if not elements:
        raise EmptyDocumentError(f"{original.format}: no text came out; exclude the file or replace it")
    title = clean_text(" ".join(draft.title.split()))
    facts = _cleaned_facts(draft.metadata)
    flags = draft.flags | original.flags
    if original.text.count("\ufffd") > original.data.count("\ufffd".encode()):
        flags |= {Flag.REPLACED}
    if _hides_characters(draft, allows_controls=original.type is DocumentType.PDF):
        flags |= {Flag.INVISIBLE_TEXT}
    return ParsedDocument(original.type, original.format, title, elements, facts, flags=tuple(sorted(flags)))


def _hides_characters(draft: Draft, *, allows_controls: bool) -> bool:
    texts = chain([draft.title], (element.text for element in draft.elements))
    return any(hides_characters(text, allows_controls=allows_controls) for text in texts)


@contextlib.contextmanager
def failures_translated(subject: str) -> Iterator[None]:
    """Turns whatever a library raises into a ParseError (``malformed``) that names the error's class, not the text."""
    try:
        yield
    except (DocumentError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  on hostile bytes a library fails in any way it likes
        name = type(error).__name__
        raise ParseError(f"{subject}: the parser failed with {name}; repair or replace the file") from None


def _cleaned(elements: list[Element]) -> Iterator[Element]:
    paths: dict[tuple[str, ...], tuple[str, ...]] = {}
    for element in elements:
        _refuse_unbroken(element.text)
        text = clean_text(element.text, is_code=element.kind is ElementKind.CODE)
        if text.strip():
            path = paths.get(element.heading_path)
            if path is None:
                path = paths[element.heading_path] = tuple(filter(None, map(clean_text, element.heading_path)))
            yield replace(element, text=text, heading_path=path)


def _refuse_unbroken(text: str) -> None:
    """A run of letters without a blank is one word to whoever cuts the text, and costs more than its length."""
    if len(text) > _UNBROKEN_CHARACTERS and max(map(len, text.split()), default=0) > _UNBROKEN_CHARACTERS:
        detail = f"a run of more than {_UNBROKEN_CHARACTERS} characters without a blank is no text; exclude the file"
        raise ParseLimitError(detail, reason="limit_size")


def _cleaned_facts(facts: dict[str, object]) -> dict[str, object]:
    return {name: _cleaned_fact(value) for name, value in sorted(facts.items())}


def _cleaned_fact(value: object) -> object:
    if isinstance(value, str):
        return clean_text(value)
    return [_cleaned_fact(item) for item in value] if isinstance(value, list) else value
