"""What is wrong with the values of a settings file, in the words of the file: keys, lists, sections."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

_TAGS = {"edge", "server"}
"""What pydantic adds to the place of a problem: which of several sections it read."""

_SHOWN = {"literal_error", "greater_than", "greater_than_equal", "less_than", "less_than_equal", "multiple_of"}
"""Problems of values that are a number or one of a few words, so that showing them tells no secret."""
_LIST = "must be a list; begin each item with '- '"
_SECTION = "must be a section with keys of its own (docs/settings.md shows how)"
_TRUTH = "must be true or false"
_WHOLE = "must be a whole number"
_WORDS = {
    "missing": "is missing; add it (docs/settings.md shows how)",
    **dict.fromkeys(("tuple_type", "list_type"), _LIST),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), _SECTION),
    **dict.fromkeys(("bool_type", "bool_parsing"), _TRUTH),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), _WHOLE),
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "union_tag_not_found": "has no {discriminator}; add it (docs/settings.md shows which there are)",
    "union_tag_invalid": "'{tag}' is none of {expected_tags}",
}


def describe_problems(settings: type[BaseModel], error: ValidationError) -> Iterator[str]:
    """One line for each problem: the place in the file, what is wrong, and what to do."""
    problems = error.errors()
    for problem in problems:
        inner = (other["loc"][: len(problem["loc"])] == problem["loc"] for other in problems if other is not problem)
        if problem["type"] == "too_short" and any(inner):
            continue  # the list is short because an item of it was refused
        where = ".".join(str(part) for part in problem["loc"] if part not in _TAGS)
        yield f"{where + ': ' if where else ''}{_text(settings, problem)}"


def _text(settings: type[BaseModel], problem: Mapping[str, Any]) -> str:
    kind, told = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        *parents, key = problem["loc"]
        return f"unknown key; {_advice(settings.model_json_schema(), parents, str(key))} (docs/settings.md lists all keys)"
    if kind == "too_short":
        return f"must have at least {told['min_length']}, not {told['actual_length']}"
    if kind in _WORDS:
        return _WORDS[kind].format_map(told)
    text = str(problem["msg"]).removeprefix("Value error, ").replace("Input should be ", "must be ", 1)
    return f"{text}, not {problem['input']!r}" if kind in _SHOWN else text


def _advice(schema: dict[str, Any], parents: list[Any], key: str) -> str:
    near = difflib.get_close_matches(key, _keys_at(schema, parents), n=1)
    return f"did you mean '{near[0]}'?" if near else "remove it or mend its spelling"


def _keys_at(schema: dict[str, Any], place: list[Any]) -> list[str]:
    """The keys that a section may hold, by the schema; none where that is not a section of fixed keys."""
    node = schema
    for part in place:
        node = _child(_resolved(schema, node), part)
    return list(_resolved(schema, node).get("properties", ()))


def _child(node: dict[str, Any], part: Any) -> dict[str, Any]:
    if part in _TAGS and "discriminator" in node:
        return {"$ref": node["discriminator"]["mapping"][part]}
    child = node.get("properties", {}).get(part) or node.get("items") or node.get("additionalProperties")
    return child if isinstance(child, dict) else {}


def _resolved(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """The node itself instead of a reference to it, and the section where it may be left empty."""
    for choice in node.get("anyOf", ()):
        if choice.get("type") != "null":
            return _resolved(schema, choice)
    name = str(node.get("$ref", "")).rpartition("/")[2]
    return schema["$defs"][name] if name else node
