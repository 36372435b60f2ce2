"""Word documents, read by unstructured; which of its titles are headings is told by the document's own styles."""

import io
import re
from collections.abc import Callable, Iterator
from typing import Any

from rag_pipeline.adapters.parsing.document import Draft, Original, Outline, first_title, shorten
from rag_pipeline.adapters.parsing.html import parse_markup
from rag_pipeline.adapters.parsing.limits import current_limits
from rag_pipeline.adapters.parsing.office_facts import read_facts
from rag_pipeline.adapters.parsing.unstructured_library import load_partitioner
from rag_pipeline.adapters.parsing.word_hidden import hidden_runs, take_out
from rag_pipeline.schema import Element, ElementKind, Flag

_HEADING_STYLE = re.compile(r"^heading (\d)$", re.I)
_MAX_BOLD_HEADING_CHARACTERS = 120
_KINDS = {"ListItem": ElementKind.LIST_ITEM, "CodeSnippet": ElementKind.CODE, "Title": ElementKind.TITLE}
_LEFT_OUT = {"PageBreak", "Header", "Footer", "PageNumber", "Image"}


def prepare() -> Callable[..., list[Any]]:
    """The library's function, loaded: seconds and memory that no single document should answer for."""
    return load_partitioner("unstructured.partition.docx", "partition_docx")


def parse(original: Original) -> Draft:
    """Headings by style or outline level, else by bold lines; lists, tables and text with the page that Word last laid out."""
    import docx

    partition = prepare()
    document, data = docx.Document(io.BytesIO(original.data)), original.data
    hidden = hidden_runs(document)
    if hidden and not current_limits().keeps_hidden_text:
        take_out(hidden)
        data = _saved(document)
    found = partition(file=io.BytesIO(data), languages=["eng"], include_page_breaks=False)
    facts = read_facts(document.core_properties)
    elements = list(_elements(found, _styled_headings(document)))
    title = str(facts.pop("title", "")) or first_title(elements)
    return Draft(title=title, elements=elements, metadata=facts, flags={Flag.HIDDEN_TEXT} if hidden else set())


def _saved(document: Any) -> bytes:
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def _elements(found: list[Any], headings: dict[str, int]) -> Iterator[Element]:
    outline = Outline()
    for item in found:
        category = type(item).__name__
        if category in _LEFT_OUT or not item.text.strip():
            continue
        page = item.metadata.page_number
        level = headings.get(_key(item.text)) if headings else _guessed_level(item)
        if category == "Table":
            yield Element(ElementKind.TABLE, _table(item), outline.path, page)
        elif level is not None and category != "ListItem":
            yield Element(ElementKind.TITLE, item.text, outline.enter(item.text, level=level), page)
        else:
            kind = _KINDS.get(category, ElementKind.TEXT)
            yield Element(ElementKind.TEXT if kind is ElementKind.TITLE else kind, item.text, outline.path, page)


def _styled_headings(document: Any) -> dict[str, int]:
    """Level of every text whose paragraph has a title or heading style, or an outline level."""
    levels = {style.style_id: _style_level(style) for style in document.styles if hasattr(style, "base_style")}
    found: dict[str, int] = {}
    for paragraph in document.element.body.iterchildren("{*}p"):
        own = paragraph.find("{*}pPr/{*}outlineLvl")
        style = paragraph.find("{*}pPr/{*}pStyle")
        level = _outline_level(own) if own is not None else levels.get(_value(style) or "")
        text = "".join(piece.text or "" for piece in paragraph.iter("{*}t"))
        if level is not None and text.strip():
            found.setdefault(_key(text), level)
    return found


def _style_level(style: Any) -> int | None:
    """0 for the title, 1 to 9 for headings, looked up along the styles that a style builds on."""
    seen = 0
    while style is not None and seen < 20:
        if heading := _HEADING_STYLE.match(style.name or ""):
            return int(heading[1])
        if (style.name or "").lower() == "title":
            return 0
        outline = style.element.find("{*}pPr/{*}outlineLvl")
        if outline is not None:
            return _outline_level(outline)
        style, seen = style.base_style, seen + 1
    return None


def _outline_level(node: Any) -> int | None:
    value = _value(node) or ""
    return int(value) + 1 if value.isdecimal() and int(value) <= 8 else None


def _value(node: Any) -> str | None:
    return None if node is None else next((value for name, value in node.attrib.items() if name.endswith("}val")), None)


def _guessed_level(item: Any) -> int | None:
    """1 for a short line wholly in bold and without a full stop, in a document without heading styles."""
    if set(item.metadata.emphasized_text_tags or ()) != {"b"} or len(item.text) > _MAX_BOLD_HEADING_CHARACTERS:
        return None
    is_bold = _key("".join(item.metadata.emphasized_text_contents)) == _key(item.text)
    return 1 if is_bold and item.text.rstrip()[-1] not in ".,:;" else None


def _table(item: Any) -> str:
    """The table in rows, its header first."""
    rows = parse_markup(item.metadata.text_as_html or "").elements
    return "\n".join(row.text for row in rows) or shorten(item.text)


def _key(text: str) -> str:
    return "".join(text.split())
