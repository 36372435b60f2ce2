"""Text as the index keeps it: one spelling of each character, no invisible ones, no layout that carries no meaning."""

import re
import unicodedata

from rag_pipeline.guardrails.direction import in_order_of_sight

CLEANING_VERSION = 3
"""Part of every parser's fingerprint. Raise it when `clean_text` gives another text for some input, or `hides_characters` another
answer."""

# Removed wherever they stand: they split words and numbers invisibly, and a search never types them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"  # control characters, all but the white ones
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e"  # soft hyphen, grapheme joiner, fillers
    "\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0"  # zero width, direction
    "\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f\ud800-\udfff]"  # annotations, tags, lone surrogates
)
# What hides or reorders text from a reader. Byte order marks, soft hyphens, places to break a word and the marks that two
# writing directions need are usual; a tag character stands in flags of England, Scotland and Wales only.
_FLAG_OF_A_LAND = re.compile("\U0001f3f4[\U000e0061-\U000e007a]{2,6}\U000e007f")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
_HIDING = re.compile("[\u202d\u202e\u2061-\u2064\ufff9-\ufffb\U000e0000-\U000e007f]")
_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufeff\u115f\u1160\u3164\uffa0\u034f\u180e]")
_IN_A_WORD = re.compile("(?<=[A-Za-z0-9가-힣])[\u200b\u200c\u200d\u2060\ufeff\u115f\u1160\u3164\uffa0](?=[A-Za-z0-9가-힣])")
_LONG_WORD_CHARACTERS, _LETTERS_PER_BREAK = 16, 4
"""Longer words, such as names in code, are given a few places to break by programs that set pages; numbers are not."""
_DIGEST = re.compile("(?=[0-9]*[a-fA-F])[0-9a-fA-F]{20,}")
_NEWLINE = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_BLANKS = re.compile(r"[^\S\n]+")
_WIDE_BLANK = re.compile(r"[^\S\n\t ]")
# Joiners shape Persian, Indic scripts and emoji; next to ASCII they only hide something.
_STRAY_JOINER = re.compile("(?<![^\x00-\x7f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f])")
_BLANK_LINES = re.compile(r"\n{3,}")
_PLAIN = re.compile(r"[!-~]+(?: [!-~]+)*")


def clean_text(text: str, *, is_code: bool = False) -> str:
    """The text in NFC, without invisible characters and idle blanks; cleaning it again changes nothing.

    In code, indentation and inner blanks stay; elsewhere a run of blanks becomes one.
    """
    if _PLAIN.fullmatch(text):
        return text
    text = _NEWLINE.sub("\n", text)
    if not text.isascii() or not text.isprintable():
        text = _without_invisible(text)
    return _squeeze_code(text) if is_code else _squeeze_prose(text)


def hides_characters(text: str, *, allows_controls: bool = False) -> bool:
    """Whether the text holds characters that nobody sees, at places where no writing needs them.

    ``allows_controls``: control characters are no sign, as in PDFs, whose fonts often do not say what their letters are.
    """
    if text.isascii() and (text.isprintable() or allows_controls):
        return False
    if not allows_controls and _CONTROLS.search(text):
        return True
    return bool(_HIDING.search(_FLAG_OF_A_LAND.sub("", text))) or any(map(_is_split, text.split()))


def _is_split(word: str) -> bool:
    """Whether a word is cut where no program would: a short one, a number, or at every other letter."""
    if word.isascii() or not _IN_A_WORD.search(word):
        return False
    seen = _UNSEEN.sub("", word)
    if len(seen) < _LONG_WORD_CHARACTERS or (len(word) - len(seen)) * _LETTERS_PER_BREAK > len(seen):
        return True
    return any(map(str.isdigit, seen)) and not _DIGEST.fullmatch(seen)


def _without_invisible(text: str) -> str:
    text = in_order_of_sight(unicodedata.normalize("NFC", text))
    text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text))
    text = _STRAY_JOINER.sub("", _WIDE_BLANK.sub(" ", text))
    return unicodedata.normalize("NFC", text)


def _squeeze_prose(text: str) -> str:
    lines = (line.strip(" ") for line in _BLANKS.sub(" ", text).split("\n"))
    return _BLANK_LINES.sub("\n\n", "\n".join(lines).strip("\n"))


def _squeeze_code(text: str) -> str:
    lines = (line.rstrip() for line in text.split("\n"))
    return _BLANK_LINES.sub("\n\n", "\n".join(lines).strip("\n"))
