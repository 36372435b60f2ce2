"""Text as the index keeps it: one spelling of each character, no invisible ones, no layout that carries no meaning."""

import re
import unicodedata

CLEANING_VERSION = 1
"""Part of every parser's fingerprint. Raise it when `clean_text` gives another text for some input."""

# Removed wherever they stand: they split words and numbers invisibly, and a search never types them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"  # control characters, all but the white ones
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e"  # soft hyphen, grapheme joiner, fillers
    "\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0"  # zero width, direction
    "\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f\ud800-\udfff]"  # annotations, tags, lone surrogates
)
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


def _without_invisible(text: str) -> str:
    text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text))
    text = _STRAY_JOINER.sub("", _WIDE_BLANK.sub(" ", text))
    return unicodedata.normalize("NFC", text)


def _squeeze_prose(text: str) -> str:
    lines = (line.strip(" ") for line in _BLANKS.sub(" ", text).split("\n"))
    return _BLANK_LINES.sub("\n\n", "\n".join(lines).strip("\n"))


def _squeeze_code(text: str) -> str:
    lines = (line.rstrip() for line in text.split("\n"))
    return _BLANK_LINES.sub("\n\n", "\n".join(lines).strip("\n"))
