"""What a page holds and its reader does not see, told from the elements themselves.

Style sheets are not read: what they hide is often shown by a click, such as the sheets of a tabbed page.
"""

import re
from collections.abc import Mapping
from typing import Any

from rag_pipeline.adapters.parsing.document import words

Node = Any
"""An ``lxml`` element; the library has no complete types."""

HIDING_ATTRIBUTES = ("hidden", "aria-hidden", "style")
"""An element without one of these is seen, as far as its page tells."""
WORDS_MIN = 8
"""Fewer words that are merely not displayed are labels of buttons and menus, and are no secret."""
_NUMBER = re.compile(r"-?\d*\.?\d+")
_OFF_PAGE = -500
"""Pixels from which nothing of an element is on the page."""
_TINY = {"px": 2.0, "pt": 1.5, "em": 0.15, "rem": 0.15, "%": 15.0, "": 0.0}
"""Sizes of letters, by unit, that nobody reads."""
_NAMED = {"white": "ffffff", "black": "000000", "transparent": ""}
_INTERACTIVE = words("button input select textarea option label menu")


def is_hidden(node: Node) -> bool:
    """Whether a browser does not show the element, or shows it so that nobody can read it."""
    return is_not_displayed(node) or is_disguised(node)


def is_secret(node: Node) -> bool:
    """Whether a hidden element holds text that seems written for somebody else than the reader of the page."""
    if node.tag in _INTERACTIVE:
        return False
    found = "".join(node.itertext()).split()
    return bool(found) and (len(found) >= WORDS_MIN or is_disguised(node))


def is_not_displayed(node: Node) -> bool:
    """Whether the element says so itself."""
    if node.tag in ("html", "body"):
        return False
    if node.get("hidden") is not None or node.get("aria-hidden") == "true":
        return True
    style = _style(node)
    return style.get("display") == "none" or style.get("visibility") in ("hidden", "collapse")


def is_disguised(node: Node) -> bool:
    """Whether letters are there but too small, too faint, in the colour of their ground, or off the page."""
    if node.tag in ("html", "body"):
        return False
    style = _style(node)
    return bool(style) and (_is_tiny(style) or _is_faint(style) or _is_off_page(style) or _is_same_colour(style))


def _style(node: Node) -> Mapping[str, str]:
    declared = (part.partition(":") for part in node.get("style", "").lower().split(";"))
    return {name.strip(): value.replace("!important", "").strip() for name, _, value in declared if value}


def _is_tiny(style: Mapping[str, str]) -> bool:
    size, unit = _measure(style.get("font-size", ""))
    return size is not None and size <= _TINY.get(unit, -1.0)


def _is_faint(style: Mapping[str, str]) -> bool:
    opacity, unit = _measure(style.get("opacity", ""))
    return opacity is not None and opacity <= (5 if unit == "%" else 0.05)


def _is_off_page(style: Mapping[str, str]) -> bool:
    places = ["text-indent", *(("left", "top", "right", "bottom") if style.get("position") in ("absolute", "fixed") else ())]
    shifts = [_measure(style.get(name, "")) for name in places]
    return any(shift is not None and shift <= _OFF_PAGE and unit in ("px", "") for shift, unit in shifts)


def _is_same_colour(style: Mapping[str, str]) -> bool:
    letters = _colour(style.get("color", ""))
    if letters == "":
        return style.get("color") == "transparent"
    ground = style.get("background-color") or style.get("background", "").partition(" ")[0]
    return letters is not None and bool(ground) and letters == _colour(ground)


def _colour(value: str) -> str | None:
    """Six hexadecimal digits; empty for a transparent one, None where it is not known."""
    if value in _NAMED:
        return _NAMED[value]
    if re.fullmatch(r"#[0-9a-f]{3}", value):
        return "".join(2 * digit for digit in value[1:])
    if re.fullmatch(r"#[0-9a-f]{6}", value):
        return value[1:]
    rgb = re.fullmatch(r"rgb\(\s*(\d+)[,\s]+(\d+)[,\s]+(\d+)\s*\)", value)
    return "".join(f"{int(part):02x}" for part in rgb.groups()) if rgb else None


def _measure(value: str) -> tuple[float | None, str]:
    number = _NUMBER.match(value)
    return (float(number[0]), value[number.end() :].strip()) if number else (None, "")
