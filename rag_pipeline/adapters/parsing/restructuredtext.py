"""reStructuredText, read line by line: sections, literal blocks, lists, tables; directives keep their text.

Not docutils: it follows ``include`` and ``raw`` directives to other files, and stops at those it does not know.
"""

import re
from dataclasses import replace

from rag_pipeline.adapters.parsing.document import Draft, Original, Outline, first_title, words
from rag_pipeline.adapters.parsing.plain_text import paragraphs
from rag_pipeline.adapters.parsing.rst_tables import is_border, read_table
from rag_pipeline.schema import Element, ElementKind

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1{2,}\s*$")
_DIRECTIVE = re.compile(r"\.\.\s+(?:\|[^|]+\|\s+)?(?P<name>[\w:.+-]+)::(?:\s+(?P<argument>.*))?$")
_OPTION = re.compile(r":[\w-]+:(?:\s|$)")
_COMMENT = re.compile(r"\.\.(?:\s|$)")
_LITERAL = re.compile(r"``(.+?)``", re.DOTALL)
_INLINE = (
    (re.compile(r":[\w:.+-]+:`([^`<]+?)\s*<[^`>]*>`"), r"\1"),
    (re.compile(r":[\w:.+-]+:`[~!]?([^`]+)`"), r"\1"),
    (re.compile(r"`([^`<]+?)\s*<[^`>]*>`__?"), r"\1"),
    (re.compile(r"`([^`]+)`_{0,2}"), r"\1"),
    (re.compile(r"\*\*(\S(?:[^*]*\S)?)\*\*"), r"\1"),
    (re.compile(r"(?<![\w*])\*(\S(?:[^*]*[^\s*])?)\*(?![\w*])"), r"\1"),
    (re.compile(r"\|([^|\s][^|]*)\|"), r"\1"),
    (re.compile(r"\\(.)"), r"\1"),
)
_CODE_DIRECTIVES = words(
    "code code-block sourcecode highlight parsed-literal doctest testcode testoutput math productionlist prompt literalinclude"
)
_SILENT_DIRECTIVES = words(
    "toctree contents index include raw image meta highlight currentmodule module role default-role sectionauthor "
    "moduleauthor codeauthor tabularcolumns only-html autosummary automodule autoclass autofunction"
)
_LABELS = {
    **{
        name: f"{name.capitalize()}:"
        for name in ("note", "warning", "tip", "important", "caution", "hint", "danger", "attention", "error")
    },
    "seealso": "See also:",
    "versionadded": "New in version",
    "versionchanged": "Changed in version",
    "deprecated": "Deprecated since version",
}
_CAPTIONED_DIRECTIVES = words("list-table csv-table table figure image rubric centered epigraph topic sidebar")
_SIGNATURE_LEVEL = 100


def parse(original: Original) -> Draft:
    """Elements under their sections; a described function or option is the heading of its description."""
    reader = _Reader()
    reader.read(original.text.expandtabs(8).split("\n"), indent=0)
    return Draft(title=first_title(reader.elements), elements=reader.elements)


class _Reader:
    """Collects elements; reads an indented body by calling itself on its lines."""

    def __init__(self) -> None:
        self.elements: list[Element] = []
        self._outline = Outline()
        self._levels: list[str] = []

    def read(self, lines: list[str], *, indent: int) -> None:
        """Takes the lines of one body."""
        position = 0
        while position < len(lines):
            position = self._read_block(lines, position, indent=indent)

    def _read_block(self, lines: list[str], position: int, *, indent: int) -> int:
        """Takes the block at a line and gives the line after it."""
        line = lines[position]
        if not line.strip():
            return position + 1
        if indent == 0 and (after := self._read_section(lines, position)):
            return after
        if _COMMENT.match(line.lstrip()):
            return self._read_explicit(lines, position, indent=indent)
        if is_border(line) and (end := _block_end(lines, position)) > position + 2:
            end = _table_end(lines, position)
            self._add(ElementKind.TABLE, _plain(read_table(lines[position:end])))
            return end
        return self._read_paragraph(lines, position)

    def _read_section(self, lines: list[str], position: int) -> int:
        """The line after a section title, or 0 where there is none."""
        rest = [line.rstrip() for line in lines[position : position + 3]]
        if len(rest) == 3 and _ADORNMENT.match(rest[0]) and rest[0] == rest[2] and rest[1].strip():
            self._enter(rest[1], style=rest[0][0] * 2)
            return position + 3
        is_title = not _ADORNMENT.match(rest[0]) and not rest[0][0].isspace()
        if is_title and len(rest) >= 2 and _ADORNMENT.match(rest[1]) and len(rest[1]) >= min(len(rest[0]), 4):
            self._enter(rest[0], style=rest[1][0])
            return position + 2
        if _ADORNMENT.match(rest[0]) and not is_border(rest[0]):
            return position + 1  # a transition
        return 0

    def _enter(self, title: str, *, style: str) -> None:
        if style not in self._levels:
            self._levels.append(style)
        text = _plain(title.strip())
        above = self._outline.enter(text, level=self._levels.index(style) + 1)
        self.elements.append(Element(ElementKind.TITLE, text, above))

    def _read_explicit(self, lines: list[str], position: int, *, indent: int) -> int:
        """A directive with its body; comments, targets and substitutions are left out."""
        end = _body_end(lines, position + 1, margin=_margin(lines[position]))
        found = _DIRECTIVE.match(lines[position].strip())
        if found:
            body = lines[position + 1 : end]
            self._read_directive(found["name"].lower(), found["argument"] or "", body=_dedent(body), indent=indent)
        return end

    def _read_directive(self, name: str, argument: str, *, body: list[str], indent: int) -> None:
        name = name.rsplit(":", 1)[-1]
        body = _without_options(body)
        if name in _CODE_DIRECTIVES:
            self._add(ElementKind.CODE, "\n".join(body))
        elif name in _SILENT_DIRECTIVES:
            return
        elif name in _LABELS:
            self._read_labelled(argument, body, label=_LABELS[name], indent=indent)
        elif argument and any(map(str.strip, body)) and name not in _CAPTIONED_DIRECTIVES:
            self._read_described(argument, body, indent=indent)
        else:
            self._add(ElementKind.TEXT, _plain(argument))
            self.read(body, indent=indent + 1)

    def _read_labelled(self, argument: str, body: list[str], *, label: str, indent: int) -> None:
        """A note or a change: its label before its first paragraph."""
        start = len(self.elements)
        self._add(ElementKind.TEXT, _plain(argument))
        self.read(body, indent=indent + 1)
        if len(self.elements) > start and self.elements[start].kind is ElementKind.TEXT:
            first = self.elements[start]
            self.elements[start] = replace(first, text=f"{label} {first.text}")

    def _read_described(self, argument: str, body: list[str], *, indent: int) -> None:
        place = self._outline.mark()
        signature = _plain(argument)
        above = self._outline.enter(signature, level=_SIGNATURE_LEVEL + indent)
        self.elements.append(Element(ElementKind.TITLE, signature, above))
        self.read(body, indent=indent + 1)
        self._outline.restore(place)

    def _read_paragraph(self, lines: list[str], position: int) -> int:
        end = _block_end(lines, position)
        block = lines[position:end]
        if block[0].lstrip().startswith(">>>"):
            self._add(ElementKind.CODE, "\n".join(_dedent(block)))
            return end
        opens_literal = block[-1].rstrip().endswith("::")
        if opens_literal:
            block = [*block[:-1], re.sub(r"\s*::\s*$", lambda m: "" if m[0].startswith(" ") else ":", block[-1])]
        for element in paragraphs("\n".join(block), self._outline.path):
            self._add(element.kind, _plain(element.text))
        return self._read_literal(lines, end, margin=_margin(block[0])) if opens_literal and block else end

    def _read_literal(self, lines: list[str], position: int, *, margin: int) -> int:
        end = _body_end(lines, position, margin=margin)
        self._add(ElementKind.CODE, "\n".join(_dedent(lines[position:end])).strip("\n"))
        return end

    def _add(self, kind: ElementKind, text: str) -> None:
        if text.strip(" :\n"):
            self.elements.append(Element(kind, text, self._outline.path))


def _plain(text: str) -> str:
    """The text without inline markup; literals keep every character."""
    pieces = _LITERAL.split(text)
    for number in range(0, len(pieces), 2):
        for pattern, replacement in _INLINE:
            pieces[number] = pattern.sub(replacement, pieces[number])
    return "".join(pieces).strip()


def _block_end(lines: list[str], position: int) -> int:
    while position < len(lines) and lines[position].strip():
        position += 1
    return position


def _table_end(lines: list[str], position: int) -> int:
    """The line after the last border; a simple table may hold blank lines."""
    end = _block_end(lines, position)
    while not is_border(lines[end - 1]) and end < len(lines):
        following = _block_end(lines, end + 1)
        if following == end + 1:
            break
        end = following
    return end


def _body_end(lines: list[str], position: int, *, margin: int) -> int:
    """The first line after a body that is indented deeper than the margin."""
    end = position
    for number in range(position, len(lines)):
        if lines[number].strip():
            if _margin(lines[number]) <= margin:
                break
            end = number + 1
    return end


def _margin(line: str) -> int:
    return len(line) - len(line.lstrip())


def _dedent(lines: list[str]) -> list[str]:
    margin = min((_margin(line) for line in lines if line.strip()), default=0)
    return [line[margin:] for line in lines]


def _without_options(body: list[str]) -> list[str]:
    position = 0
    while position < len(body) and (_OPTION.match(body[position]) or (not body[position].strip() and position == 0)):
        position += 1
    return body[position:]
