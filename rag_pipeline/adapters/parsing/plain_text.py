"""Plain text: paragraphs between empty lines, headings where they are underlined."""

import re

from rag_pipeline.adapters.parsing.document import Draft, Original, Outline, first_title
from rag_pipeline.schema import Element, ElementKind

_UNDERLINE_LEVELS = {"=": 1, "-": 2, "~": 3}
_UNDERLINED = re.compile(r"(?P<title>\S[^\n]*)\n(?P<line>={3,}|-{3,}|~{3,})(?:\n|\Z)")
_BULLET = re.compile(r"(?:[-*+•·‣]|\(?\d{1,3}[.)]|[a-z][.)])\s+\S")
_WRAPPED_CHARACTERS = 50
_PARAGRAPH_BREAK = re.compile(r"\n[^\S\n]*\n+|\f")


def parse(original: Original) -> Draft:
    """One element a paragraph; the lines of a wrapped paragraph are joined."""
    elements: list[Element] = []
    outline = Outline()
    for block in _PARAGRAPH_BREAK.split(original.text):
        heading = _UNDERLINED.match(block.lstrip("\n"))
        if heading and _fits(heading):
            title = heading["title"].strip()
            above = outline.enter(title, level=_UNDERLINE_LEVELS[heading["line"][0]])
            elements.append(Element(ElementKind.TITLE, title, above))
            block = block.lstrip("\n")[heading.end() :]
        elements += paragraphs(block, outline.path)
    return Draft(title=first_title(elements), elements=elements)


def paragraphs(block: str, path: tuple[str, ...] = ()) -> list[Element]:
    """The elements of a block without empty lines: its list items, or one paragraph."""
    items: list[list[str]] = []
    lines = [line for line in block.split("\n") if line.strip()]
    for line in lines:
        if not items or _BULLET.match(line.strip()):
            items.append([line])
        else:
            items[-1].append(line)
    return [_element(item, path) for item in items]


def _element(lines: list[str], path: tuple[str, ...]) -> Element:
    kind = ElementKind.LIST_ITEM if _BULLET.match(lines[0].strip()) else ElementKind.TEXT
    is_wrapped = all(len(line) >= _WRAPPED_CHARACTERS for line in lines[:-1]) or kind is ElementKind.LIST_ITEM
    return Element(kind, (" " if is_wrapped else "\n").join(line.strip() for line in lines), path)


def _fits(heading: re.Match[str]) -> bool:
    return len(heading["title"].strip()) * 0.5 <= len(heading["line"]) <= len(heading["title"].strip()) * 2 + 4
