"""Text as a reader sees it, for detection only: disguises undone, and every character traceable to the original."""

# ruff: noqa: RUF001 - look-alikes are what this is about

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

# Everything else may fold to another text. Jamo come in clusters that make one syllable.
_UNUSUAL = re.compile(
    "[\u1100-\u115e\ua960-\ua97c][\u1161-\u11a7\ud7b0-\ud7c6]?[\u11a8-\u11ff\ud7cb-\ud7fb]?"
    "|[^\n\t\x20-\x7e\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fff\uac00-\ud7a3]"
)
_FILLERS = "\u115f\u1160\u3164\uffa0\u2800"
_DASHES = "\u2212\u2043\u30fc\u3161\u02d7"
_DOTS = "\u00b7\u2022\u2024\u2027\u2219\u22c5\u30fb\u3002\uff61\u0589\u06d4"
_SLASHES = "\u2044\u2215\u29f8"
_LOOK_ALIKES = dict(
    zip(
        "АВЕЅІЈКМНОРСТУХасеіјорѕухһԁԛԝӏҮүѵ" + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧοιαρνυχκ" + "ıɡɑοօսհ",
        "ABESIJKMHOPCTYXaceijopsyxhdqwlYyv" + "ABEZHIKMNOPTYXoiapvuxk" + "igaoouh",
        strict=True,
    )
)
_DIGIT_LIKE = str.maketrans("OoQDIil|SsBZzg", "00001111558229")
_NUMBER_TOKEN = re.compile(r"(?<![A-Za-z0-9])[0-9OoIil|SsBZz](?:[-. /_]{0,3}[0-9OoIil|SsBZz]){6,}(?![A-Za-z0-9])")


_WORDS_AROUND = re.compile(r"((?:[A-Za-z|]+ +)*)(.*?)((?: +[A-Za-z|]+)*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FoldedText:
    """A folded copy; ``origins`` gives for each of its characters the place of it in the original, None where they agree."""

    text: str
    original: str
    origins: tuple[range, ...] | None

    @property
    def numeric(self) -> str:
        """The same, with letters that stand for digits read as digits; equally long."""
        return _NUMBER_TOKEN.sub(_as_digits, self.text)

    def original_span(self, start: int, end: int) -> tuple[int, int]:
        """Where a piece of the folded text stands in the original, marks that hang on its last character included."""
        if self.origins is None:
            return start, end
        first, last = self.origins[start].start, self.origins[end - 1].stop
        while last < len(self.original) and unicodedata.category(self.original[last]) in ("Mn", "Me", "Cf"):
            last += 1
        return first, last


def fold(text: str) -> FoldedText:
    """The text with compatibility forms, invisible characters, foreign digits and look-alike letters undone."""
    pieces: list[str] = []
    origins: list[range] = []
    done = 0
    for match in _UNUSUAL.finditer(text):
        start, end = match.span()
        pieces.append(text[done:start])
        origins.extend(range(at, at + 1) for at in range(done, start))
        folded = _folded(match[0])
        pieces.append(folded)
        origins.extend(range(start, end) for _ in folded)
        done = end
    if not done:
        return FoldedText(text, text, None)
    pieces.append(text[done:])
    origins.extend(range(at, at + 1) for at in range(done, len(text)))
    return FoldedText("".join(pieces), text, tuple(origins))


@lru_cache(maxsize=8192)
def _folded(cluster: str) -> str:
    """What one character, or one syllable in pieces, is read as; empty where nobody sees it."""
    if len(cluster) > 1:
        return unicodedata.normalize("NFC", cluster)
    if cluster in _DASHES:
        return "-"
    digit = unicodedata.digit(cluster, None)
    if digit is not None:
        return str(digit)
    return "".join(_folded_part(part) for part in unicodedata.normalize("NFKD", cluster)) if not _is_hangul(cluster) else cluster


def _is_hangul(character: str) -> bool:
    return "\u1100" <= character <= "\u11ff" or "\u3131" <= character <= "\u318e"


def _folded_part(part: str) -> str:
    category = unicodedata.category(part)
    if part in "\r\x0b\x0c\x85\u2028\u2029":
        return "\n"
    if category in ("Cf", "Cc", "Cs", "Mn", "Me") or part in _FILLERS:
        return ""
    for group, plain in ((_DOTS, "."), (_SLASHES, "/"), ("\u3007", "0")):
        if part in group:
            return plain
    digit = unicodedata.digit(part, None)
    if digit is not None:
        return str(digit)
    return "-" if category == "Pd" or part in _DASHES else " " if category == "Zs" else _LOOK_ALIKES.get(part, part)


def _as_digits(match: re.Match[str]) -> str:
    """Digits for letters, but a word at either end, such as the "is" after a number, stays one."""
    before, token, after = _WORDS_AROUND.fullmatch(match[0]).groups()  # type: ignore[union-attr]
    digits = sum(character.isdigit() for character in token)
    letters = sum(character.isalpha() or character == "|" for character in token)
    return before + (token.translate(_DIGIT_LIKE) if digits >= letters else token) + after
