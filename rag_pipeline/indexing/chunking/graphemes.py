"""Borders of user-perceived characters, for cuts inside words."""

import regex

_GRAPHEME = regex.compile(r"\X")
LOOK_BACK_CHARS = 64


def snap_to_grapheme(text: str, start: int, position: int) -> int:
    """The last grapheme border at or before ``position`` that lies after ``start``; ``position`` where there is none."""
    if position >= len(text):
        return position
    begin = max(start, position - LOOK_BACK_CHARS)
    for grapheme in _GRAPHEME.finditer(text, begin, min(len(text), position + LOOK_BACK_CHARS)):
        if grapheme.end() == position:
            return position
        if grapheme.end() > position:
            return grapheme.start() if grapheme.start() > begin else position
    return position
