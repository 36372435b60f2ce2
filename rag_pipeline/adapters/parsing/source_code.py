"""Source code: blocks of whole lines, under the function or class that they belong to where that is cheap to tell."""

import ast
import re
import warnings
from collections.abc import Iterator
from itertools import pairwise

from rag_pipeline.adapters.parsing.document import Draft, Original
from rag_pipeline.adapters.parsing.xml_entities import refuse_entities
from rag_pipeline.schema import Element, ElementKind

_PARSED_PYTHON_CHARACTERS = 2_000_000
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_DEFINITION = re.compile(
    r"^(?:export\s+|default\s+|pub(?:\([^)]*\))?\s+|public\s+|private\s+|protected\s+|internal\s+|static\s+|abstract\s+|final\s+|sealed\s+"
    r"|async\s+|unsafe\s+|extern\s+|virtual\s+|override\s+|data\s+|partial\s+)*"
    r"(?:class|interface|struct|enum|trait|impl|module|namespace|object|record|func|function\*?|fn|def|fun|sub|proc|type|union|mod|message|service)"
    r"\s+(?:\([^)]*\)\s*)?(?P<name>[A-Za-z_$][\w$.:]*)",
    re.I,
)
_CREATION = re.compile(
    r"^create\s+(?:or\s+replace\s+)?(?:temp(?:orary)?\s+|unique\s+|materialized\s+)*"
    r"(?:table|view|index|function|procedure|trigger|type|schema|sequence)\s+(?:if\s+not\s+exists\s+)?(?P<name>[\w.\"`]+)",
    re.I,
)
_Part = tuple[int, tuple[str, ...]]
"""First line of a part (from 0) and its path."""


def parse(original: Original) -> Draft:
    """Every line in order, cut at blank lines before unindented ones; Python by its syntax tree."""
    if original.format == "xml":
        refuse_entities(original.text.encode(errors="replace"))
    lines = original.text.split("\n")
    parts = _python_parts(original.text) if original.format == "python" else None
    elements = [
        Element(ElementKind.CODE, block, path)
        for start, end, path in _spans(parts or _generic_parts(lines), len(lines))
        for block in _blocks(lines[start:end])
    ]
    return Draft(elements=elements, metadata={"language": original.format})


def _spans(parts: list[_Part], line_count: int) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    for (start, path), (end, _) in pairwise([*parts, (line_count, ())]):
        yield start, end, path


def _blocks(lines: list[str]) -> Iterator[str]:
    """Blocks that end at a blank line whose next line is not indented."""
    block: list[str] = []
    for line in lines:
        if block and not block[-1].strip() and line[:1].strip() and line[0] not in ")}]":
            yield from _if_any(block)
            block = []
        block.append(line)
    yield from _if_any(block)


def _if_any(block: list[str]) -> Iterator[str]:
    text = "\n".join(line.rstrip() for line in block).strip("\n")
    if text:
        yield text


def _generic_parts(lines: list[str]) -> list[_Part]:
    parts: list[_Part] = [(0, ())]
    for number, line in enumerate(lines):
        if line[:1].isalpha() and (found := _DEFINITION.match(line) or _CREATION.match(line)):
            parts.append((_with_comments(lines, number), (found["name"].rstrip(":."),)))
    return parts


def _with_comments(lines: list[str], number: int) -> int:
    """The first of the comment and attribute lines right above a definition."""
    while number > 0 and lines[number - 1].lstrip()[:1] in ("#", "/", "*", "@", "-", ";", "[", "%") and lines[number - 1].strip():
        number -= 1
    return number


def _python_parts(text: str) -> list[_Part] | None:
    """Parts of top-level definitions and of the methods of classes; None where the text is not valid Python."""
    if len(text) > _PARSED_PYTHON_CHARACTERS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    lines = text.split("\n")
    parts: list[_Part] = [(0, ())]
    for node in tree.body:
        if isinstance(node, _Definition):
            _add_definition(parts, node, lines=lines)
        elif parts[-1][1] and node.lineno - 1 > parts[-1][0]:
            parts.append((_with_comments(lines, node.lineno - 1), ()))
    return _increasing(parts)


def _add_definition(parts: list[_Part], node: _Definition, *, lines: list[str]) -> None:
    parts.append((_first_line(node, lines), (node.name,)))
    if isinstance(node, ast.ClassDef):
        methods = [inner for inner in node.body if isinstance(inner, _Definition)]
        parts += [(_first_line(inner, lines), (node.name, inner.name)) for inner in methods]


def _first_line(node: _Definition, lines: list[str]) -> int:
    return _with_comments(lines, min([node.lineno, *(item.lineno for item in node.decorator_list)]) - 1)


def _increasing(parts: list[_Part]) -> list[_Part]:
    """Parts without those that another one on the same line replaces."""
    kept: list[_Part] = []
    for part in parts:
        while kept and kept[-1][0] >= part[0]:
            kept.pop()
        kept.append(part)
    return kept
