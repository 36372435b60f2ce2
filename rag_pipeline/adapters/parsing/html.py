"""HTML pages: what the reader sees, under the headings where it stands.

The tree is walked once. Headings nest by their number and, at equal numbers, by the sections around them, so that
DocBook's pages (a chapter and its sections are all ``h2``) come out as nested as Sphinx's.
"""

from collections.abc import Iterator
from typing import Any

from rag_pipeline.adapters.parsing.document import Draft, Original, Outline, first_title, shorten, words
from rag_pipeline.adapters.parsing.html_flat import parse_flat
from rag_pipeline.adapters.parsing.html_tables import is_layout, read_table
from rag_pipeline.adapters.parsing.html_tree import (
    BLOCK_TAGS,
    SECTION_TAGS,
    IncompleteTreeError,
    Node,
    has_block,
    inline_text,
    read_tree,
    select_content,
)
from rag_pipeline.adapters.parsing.limits import current_limits
from rag_pipeline.schema import Element, ElementKind, Flag

_HEADING_LEVELS = {f"h{level}": level for level in range(1, 7)}
_DEFINITION_LEVEL = 10
_LONG_DEFINITION_CHARACTERS = 400
_SECTION_CLASSES = words(
    "section chapter appendix preface part book article reference refentry refsynopsisdiv refsect1 refsect2 refsect3 "
    "sect1 sect2 sect3 sect4 sect5 simplesect"
)
_ADMONITIONS = words("note tip warning caution important admonition danger hint attention error seealso")
_META_NAMES = {"author": "author", "description": "description", "keywords": "keywords", "date": "date"}


def parse(original: Original) -> Draft:
    """Title, elements and the facts of the page's head."""
    return parse_markup(original.text)


def parse_markup(text: str) -> Draft:
    """The same for markup from elsewhere: an e-mail, a block inside Markdown."""
    try:
        root = read_tree(text)
        draft = Draft(title=_title(root), metadata=_facts(root))
        walker = _Walker()
        content, has_secrets = select_content(root, text, keeps_hidden=current_limits().keeps_hidden_text)
        draft.flags |= {Flag.HIDDEN_TEXT} if has_secrets else set()
        walker.visit(content)
    except (IncompleteTreeError, RecursionError):
        return parse_flat(text)
    draft.elements = walker.elements
    draft.title = draft.title or first_title(draft.elements)
    return draft


def _title(root: Node) -> str:
    title = root.find(".//title")
    return "" if title is None else shorten("".join(title.itertext()))


def _facts(root: Node) -> dict[str, Any]:
    facts = {"language": root.get("lang") or root.get("{http://www.w3.org/XML/1998/namespace}lang")}
    for meta in root.iter("meta"):
        name = _META_NAMES.get((meta.get("name") or "").lower())
        if name and meta.get("content"):
            facts.setdefault(name, shorten(meta.get("content")))
    return {name: value for name, value in facts.items() if value}


class _Walker:
    """Collects the elements of a tree in reading order."""

    def __init__(self) -> None:
        self.elements: list[Element] = []
        self._outline = Outline()
        self._section_depth = 0
        self._label = ""

    def visit(self, node: Node, kind: ElementKind = ElementKind.TEXT) -> None:
        """Adds what one block element holds."""
        tag = node.tag
        if tag in _HEADING_LEVELS:
            self._add_heading(node)
        elif tag == "pre":
            self._add(ElementKind.CODE, "".join(node.itertext()))
        elif tag == "table":
            self._add_table(node)
        elif tag == "dl":
            self._add_definitions(node)
        elif tag == "li":
            self._flow(node, ElementKind.LIST_ITEM)
        else:
            self._visit_container(node, kind)

    def _visit_container(self, node: Node, kind: ElementKind) -> None:
        classes = (node.get("class") or "").split()
        is_section = node.tag in SECTION_TAGS or (node.tag == "div" and not _SECTION_CLASSES.isdisjoint(classes))
        self._section_depth += is_section
        if node.tag in ("div", "aside", "section") and not _ADMONITIONS.isdisjoint(classes):
            self._label = _take_label(node)
        self._flow(node, kind)
        self._section_depth -= is_section

    def _flow(self, node: Node, kind: ElementKind) -> None:
        """Adds runs of inline content as one element each, and the blocks between them."""
        if not has_block(node):
            self._add(kind, "".join(node.itertext()))
            return
        run = [node.text or ""]
        for child in node:
            if child.tag in BLOCK_TAGS or has_block(child):
                self._add(kind, "".join(run))
                self.visit(child, kind if child.tag not in ("ul", "ol") else ElementKind.TEXT)
                run = [child.tail or ""]
            else:
                run += ["".join(child.itertext()), child.tail or ""]
        self._add(kind, "".join(run))

    def _add(self, kind: ElementKind, text: str) -> None:
        if kind is ElementKind.CODE:
            if text.strip():
                self.elements.append(Element(kind, text.strip("\r\n"), self._outline.path))
            return
        text = " ".join(text.split())
        if text:
            text, self._label = self._label + text, ""
            self.elements.append(Element(kind, text, self._outline.path))

    def _add_heading(self, node: Node) -> None:
        text = inline_text(node)
        if text:
            self._enter(text, level=_HEADING_LEVELS[node.tag])

    def _enter(self, text: str, *, level: int, name: str = "") -> None:
        above = self._outline.enter(name or text, level=level, depth=self._section_depth)
        self.elements.append(Element(ElementKind.TITLE, text, above))

    def _add_table(self, node: Node) -> None:
        for caption in node.iterchildren("caption"):
            self._flow(caption, ElementKind.TEXT)
            node.remove(caption)
        if is_layout(node):
            self._flow(node, ElementKind.TEXT)
        elif text := read_table(node):
            self.elements.append(Element(ElementKind.TABLE, text, self._outline.path))

    def _add_definitions(self, node: Node) -> None:
        """Long or linked entries stand under their term as under a heading, short ones beside it."""
        place = self._outline.mark()
        for terms, definition in _entries(node):
            names = [name for name in map(inline_text, terms) if name]
            term = "; ".join(names)
            if definition is None:
                self._add(ElementKind.LIST_ITEM, term)
            elif term and _is_section_like(terms, definition):
                self._enter(term, level=_DEFINITION_LEVEL + len(place), name=names[0])
                self._flow(definition, ElementKind.TEXT)
                self._outline.restore(place)
            elif has_block(definition) and not _is_paragraph(definition):
                self._add(ElementKind.LIST_ITEM, f"{term}:" if term else "")
                self._flow(definition, ElementKind.TEXT)
            else:
                self._add(ElementKind.LIST_ITEM, f"{term}: {inline_text(definition)}" if term else inline_text(definition))


def _entries(node: Node) -> Iterator[tuple[list[Node], Node | None]]:
    """Terms with their definition; HTML 5 allows each group in a ``div``."""
    terms: list[Node] = []
    for child in _members(node):
        if child.tag == "dt":
            terms.append(child)
        else:
            yield terms, child
            terms = []
    if terms:
        yield terms, None


def _members(node: Node) -> Iterator[Node]:
    for child in node:
        if child.tag == "div" and child.find("dt") is not None:
            yield from child
        else:
            yield child


def _is_section_like(terms: list[Node], definition: Node) -> bool:
    if not inline_text(definition):
        return False
    is_linked = any(term.get("id") or "sig" in (term.get("class") or "").split() for term in terms)
    return is_linked or sum(map(len, definition.itertext())) > _LONG_DEFINITION_CHARACTERS


def _is_paragraph(node: Node) -> bool:
    """Whether the element holds one paragraph and nothing beside it."""
    return len(node) == 1 and node[0].tag == "p" and not (node.text or "").strip() and not (node[0].tail or "").strip()


def _take_label(node: Node) -> str:
    """The caption of a note ("Note", "Warning"), removed from it, as the prefix of its first paragraph."""
    for child in node:
        if child.tag in _HEADING_LEVELS or "admonition-title" in (child.get("class") or ""):
            label = inline_text(child)
            child.getparent().remove(child)
            return f"{label.rstrip(':')}: " if label else ""
    return ""
