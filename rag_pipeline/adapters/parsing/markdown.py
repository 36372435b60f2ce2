"""Markdown (CommonMark with tables), front matter included."""

import re
from collections.abc import Iterator
from typing import Any

from rag_pipeline.adapters.parsing.document import Draft, Original, Outline, first_title, table_text
from rag_pipeline.schema import Element, ElementKind

_FRONT_MATTER = re.compile(r"\A---[^\S\n]*\n(.*?)\n(?:---|\.\.\.)[^\S\n]*(?:\n|\Z)", re.S)
_FACT = re.compile(
    r"^(title|author|authors|date|description|summary|keywords|tags|lang|language|version|slug):\s*(\S.*?)\s*$", re.M
)
_TAG = re.compile(r"<[^>]*>")


def parse(original: Original) -> Draft:
    """Headings, paragraphs, list items, code and tables; the simple fields of a front matter as facts."""
    facts, text = _split_front_matter(original.text)
    reader = _Reader()
    for token in _tokens(text):
        reader.read(token)
    title = str(facts.pop("title", "")) or first_title(reader.elements)
    return Draft(title=title, elements=reader.elements, metadata=facts)


def _tokens(text: str) -> Iterator[Any]:
    from markdown_it import MarkdownIt

    yield from MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


def _split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    found = _FRONT_MATTER.match(text)
    if not found:
        return {}, text
    return {name: value.strip("\"'") for name, value in _FACT.findall(found[1])}, text[found.end() :]


class _Reader:
    """Collects elements from a stream of block tokens."""

    def __init__(self) -> None:
        self.elements: list[Element] = []
        self._outline = Outline()
        self._open: list[str] = []
        self._rows: list[list[str]] = []
        self._item_is_new = False
        self._level = 1

    def read(self, token: Any) -> None:
        """Takes the next token."""
        if token.nesting == 1:
            self._start(token)
        elif token.nesting == -1:
            self._end(token)
        elif token.type in ("fence", "code_block"):
            self._add(ElementKind.CODE, token.content.rstrip("\n"))
        elif token.type == "html_block":
            self._add_markup(token.content)
        elif token.type == "inline":
            self._add_inline(_inline_text(token))

    def _start(self, token: Any) -> None:
        self._open.append(token.type)
        if token.type == "tr_open":
            self._rows.append([])
        elif token.type == "heading_open":
            self._level = int(token.tag[1:])
        elif token.type == "list_item_open":
            self._item_is_new = True

    def _end(self, token: Any) -> None:
        self._open.pop()
        if token.type == "table_close":
            self._add(ElementKind.TABLE, table_text(self._rows))
            self._rows = []

    def _add_inline(self, text: str) -> None:
        holder = self._open[-1] if self._open else ""
        if holder in ("th_open", "td_open"):
            self._rows[-1].append(text)
        elif holder == "heading_open":
            self._add_heading(text)
        elif "list_item_open" in self._open:
            self._add(ElementKind.LIST_ITEM if self._item_is_new else ElementKind.TEXT, text)
            self._item_is_new = False
        else:
            self._add(ElementKind.TEXT, text)

    def _add_heading(self, text: str) -> None:
        if text:
            self.elements.append(Element(ElementKind.TITLE, text, self._outline.enter(text, level=self._level)))

    def _add_markup(self, content: str) -> None:
        """Markup of HTML inside the Markdown; its headings are decoration, not outline."""
        if not _TAG.sub("", content).strip():
            return
        from rag_pipeline.adapters.parsing.html import parse_markup

        for element in parse_markup(content).elements:
            self._add(ElementKind.TEXT if element.kind is ElementKind.TITLE else element.kind, element.text)

    def _add(self, kind: ElementKind, text: str) -> None:
        if text.strip():
            self.elements.append(Element(kind, text, self._outline.path))


def _inline_text(token: Any) -> str:
    pieces: list[str] = []
    for child in token.children or ():
        if child.type in ("text", "code_inline"):
            pieces.append(child.content)
        elif child.type == "softbreak":
            pieces.append(" ")
        elif child.type == "hardbreak":
            pieces.append("\n")
        elif child.type == "image":
            pieces.append(child.content)
    return "".join(pieces).strip()
