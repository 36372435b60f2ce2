"""File names as text that every other system takes: one line, valid Unicode, and back again.

A name on disk is bytes. Most are printable text and stay as they are. Control characters (a newline), bytes that are not
UTF-8, and a ``%`` that would read as an escape are written as ``%`` and two upper-case hex digits, so each name has
exactly one readable form and each readable form one name.
"""

import re

_UNSAFE = re.compile(r"[\x00-\x1f\x7f\udc80-\udcff]|%(?=[0-9A-Fa-f]{2})")
_ESCAPE = re.compile(r"(?:%[01][0-9A-F]|%7F|%[89A-F][0-9A-F]|%25)")


def readable_path(raw: str) -> str:
    """The path as one line of valid Unicode. ``raw`` is as ``os.scandir`` gives it, with surrogates for odd bytes."""
    if "%" not in raw and raw.isprintable():
        return raw
    return _UNSAFE.sub(_escape, raw)


def raw_path(readable: str) -> str:
    """The path as the operating system knows it: the inverse of ``readable_path``."""
    if "%" not in readable:
        return readable
    return _ESCAPE.sub(_unescape, readable)


def _escape(match: re.Match[str]) -> str:
    return f"%{ord(match[0]) & 0xFF:02X}"


def _unescape(match: re.Match[str]) -> str:
    byte = int(match[0][1:], 16)
    return chr(byte) if byte < 0x80 else chr(0xDC00 + byte)
