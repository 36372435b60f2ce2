"""Text under a right-to-left override in the order in which its reader sees it."""

import re
import unicodedata
from collections.abc import Iterator

_OVERRIDE = re.compile("\u202e([^\u202a-\u202e\r\n\x0b\x0c\x85\u2028\u2029]*)")


def overridden_parts(text: str) -> Iterator[tuple[int, int]]:
    """Where text is shown backwards by force, the marks left out; letters that run from right to left anyway are not."""
    if "\u202e" not in text:
        return
    for match in _OVERRIDE.finditer(text):
        if match[1] and not any(unicodedata.bidirectional(character) in ("R", "AL") for character in match[1]):
            yield match.span(1)


def in_order_of_sight(text: str) -> str:
    """The text with such parts turned round; equally long, the marks stay."""
    pieces, done = [], 0
    for start, end in overridden_parts(text):
        pieces += [text[done:start], text[start:end][::-1]]
        done = end
    return "".join((*pieces, text[done:]))
