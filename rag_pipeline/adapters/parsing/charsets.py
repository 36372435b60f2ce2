"""Bytes to text: what the bytes prove goes before what a declaration claims."""

import codecs
import re
import unicodedata
from collections.abc import Iterator, Sequence

from rag_pipeline.errors import ParseError

_SAMPLE_BYTES = 64 * 1024
_MAX_REPLACED_SHARE = 0.01
_MAX_CONTROL_SHARE = 0.01
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROLS = bytes(set(range(0x20)) - set(b"\t\n\r\f\x1b")) + b"\x7f"
_DECLARATION = re.compile(rb"""(?:charset|encoding|coding)\s*[:=]\s*["']?\s*([A-Za-z][\w.:-]{1,40})""", re.IGNORECASE)
# What a page calls by the narrow name is written in the wider set by the programs that made it.
_SUPERSETS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "latin-1": "cp1252",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "iso8859-9": "cp1254",
}
_WIDE = {"cp949", "johab", "cp932", "shift_jisx0213", "euc_jp", "gb18030", "hz", "big5", "big5hkscs", "cp950"}
_SURE_CHARACTERS = 8
_SHIFT = b"\x1b$"
_ESCAPED = ("iso2022_kr", "iso2022_jp_2")
_COMMON_HANGUL = frozenset("이다는을의에가고하지로한사기를은도있수대해인아나어자시부일리들정스전보서그제")


def is_binary(data: bytes) -> bool:
    """Whether the bytes can be no text in any charset: too many control characters, and not UTF-16 or UTF-32."""
    sample = data[:_SAMPLE_BYTES]
    if _bom(sample) or _wide_unicode(data):
        return False
    controls = len(sample) - len(
        sample.translate(None, _CONTROLS.translate(None, b"\x0e\x0f") if _SHIFT in sample else _CONTROLS)
    )
    if controls > _MAX_CONTROL_SHARE * len(sample):
        return True
    return b"\0" in sample and not _is_nearly_utf8(sample)


def decode_text(data: bytes, *, declared: Sequence[str] = ()) -> str:
    """The text of the bytes. Raises ParseError (``encoding``) when more than 1 % of it would be replacement characters."""
    for encoding in _candidates(data, [*declared, *_declarations(data)]):
        text = _strict(data, encoding)
        if text is not None:
            return text.removeprefix("\ufeff")
    text = data.decode("utf-8", errors="replace")
    if text.count("\ufffd") > _MAX_REPLACED_SHARE * len(text):
        raise ParseError("no character set fits the bytes; save the file as UTF-8", reason="encoding")
    return text


def _candidates(data: bytes, declared: Sequence[str]) -> Iterator[str]:
    """Encodings to try strictly, most certain first; ends where a lossy UTF-8 reading is the best that is left."""
    if bom := _bom(data):
        yield bom
    elif wide := _wide_unicode(data):
        yield wide
    if _SHIFT in data:  # seven-bit charsets, which are valid UTF-8 as well
        yield from _ESCAPED
    yield "utf-8"
    if _is_nearly_utf8(data):
        return
    if _is_korean(data, least=_SURE_CHARACTERS):  # stronger evidence than a declaration
        yield "cp949"
    known = [name for name in map(_known, declared) if name and name not in ("utf-8", "utf-16", "utf-32")]
    yield from (name for name in known if name in _WIDE and _reads_well(data, name))
    if _is_korean(data, least=1):
        yield "cp949"
    yield from (name for name in known if name not in _WIDE and _reads_well(data, name))
    if guess := _guess(data):
        yield guess


def _bom(data: bytes) -> str | None:
    return next((encoding for bom, encoding in _BOMS if data.startswith(bom)), None)


def _wide_unicode(data: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark: zero bytes stand at the same places, and what they make is text."""
    sample = data[: _SAMPLE_BYTES // 4 * 4]
    if b"\0" not in sample or len(sample) < 4 or len(data) % 2:
        return None
    zeros = [sample[offset::4].count(0) for offset in range(4)]
    quarter = len(sample) // 4
    if zeros[2] >= quarter and zeros[3] >= 0.9 * quarter:
        return _if_text(sample, "utf-32-le")
    if zeros[0] >= quarter and zeros[1] >= 0.9 * quarter:
        return _if_text(sample, "utf-32-be")
    even, odd = zeros[0] + zeros[2], zeros[1] + zeros[3]
    return _if_text(sample, "utf-16-le" if odd > even else "utf-16-be") if min(even, odd) * 20 <= max(even, odd) else None


def _if_text(sample: bytes, encoding: str) -> str | None:
    text = sample[:4096].decode(encoding, errors="replace")
    odd = sum(_is_odd(character) for character in text)
    return encoding if odd <= 0.02 * len(text) + 1 and len(text) > 1 else None


def _is_odd(character: str) -> bool:
    return character == "\ufffd" or (character not in "\t\n\r\f\x1b" and unicodedata.category(character) in ("Cc", "Cn", "Co"))


def _is_nearly_utf8(data: bytes) -> bool:
    """Valid UTF-8 but for a few bytes, which a damaged file has and another charset does not."""
    text = data.decode("utf-8", errors="replace")
    replaced = text.count("\ufffd")
    if not replaced:
        return True
    wide = len(text) - replaced - sum(map(text.count, map(chr, range(128)))) if replaced < 1000 else 0
    return replaced <= _MAX_REPLACED_SHARE * len(text) and wide > 2 * replaced


def _declarations(data: bytes) -> list[str]:
    return [match.decode("ascii") for match in _DECLARATION.findall(data[:2048])]


def _known(name: str) -> str | None:
    try:
        found = codecs.lookup(name.strip()).name
    except LookupError:
        return "cp949" if name.lower().startswith(("ks_c_5601", "x-windows-949", "windows-949")) else None
    return _SUPERSETS.get(found, found)


def _strict(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def _reads_well(data: bytes, encoding: str) -> bool:
    """Whether a declared charset gives text that its script can hold: no controls, no word made of accents alone."""
    text = _strict(data[:_SAMPLE_BYTES], encoding) or _strict(data[: _SAMPLE_BYTES - 1], encoding)
    if text is None or sum(map(_is_odd, text)) > 0.01 * len(text):
        return False
    letters = [character for character in text if character.isalpha()]
    accented = sum("\x80" <= character < "\u0250" for character in letters)
    return accented <= 0.4 * len(letters)


def _is_korean(data: bytes, *, least: int) -> bool:
    """Whether the bytes, read as Korean, are Hangul of the usual kind, and so many of them."""
    text = _strict(data, "cp949")
    if text is None:
        return False
    wide = [character for character in text[:_SAMPLE_BYTES] if character > "\x7f" and character.isalpha()]
    hangul = sum("가" <= character <= "힣" for character in wide)
    common = sum(character in _COMMON_HANGUL for character in wide)
    return len(wide) >= least and hangul >= 0.9 * len(wide) and common >= 0.15 * len(wide)


def _guess(data: bytes) -> str | None:
    from charset_normalizer import from_bytes

    best = from_bytes(data[:_SAMPLE_BYTES]).best()
    return best.encoding if best else None
