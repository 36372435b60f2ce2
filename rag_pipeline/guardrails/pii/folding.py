"""Text as a reader sees it, for detection only: disguises undone, and every character traceable to the original."""

# ruff: noqa: RUF001 - look-alikes are what this is about

import itertools
import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

from rag_pipeline.guardrails.direction import in_order_of_sight, overridden_parts

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
_LETTERS = "OoIil|SsBZz"
_LETTER = re.compile("[^0-9. /_-]")
_WORDS_BEFORE = re.compile(r"(?:[A-Za-z|]+ +)*")


@dataclass(frozen=True, slots=True)
class FoldedText:
    """A folded copy, and where its pieces come from."""

    text: str
    original: str
    places: tuple[int, ...]
    """Where each piece begins in the folded text; the first begins at 0."""
    sources: tuple[tuple[int, int], ...]
    """Where each piece comes from, as a span; pieces of another length than that come from all of it."""
    turned: tuple[tuple[int, int], ...]
    """Parts of the original that are read backwards."""

    @property
    def numeric(self) -> str:
        """The same, with letters that stand for digits read as digits; equally long."""
        return _NUMBER_TOKEN.sub(_as_digits, self.text)

    def original_span(self, start: int, end: int) -> tuple[int, int]:
        """Where a piece of the folded text stands in the original, marks that hang on its last character included."""
        first, last = self._source(start)[0], self._source(end - 1)[1]
        for part in self.turned:
            if part[0] < last and first < part[1]:
                first, last = _turned_span(first, last, part)
        while last < len(self.original) and unicodedata.category(self.original[last]) in ("Mn", "Me", "Cf"):
            last += 1
        return first, last

    def _source(self, at: int) -> tuple[int, int]:
        """Where one character comes from."""
        number = bisect_right(self.places, at) - 1
        place, (start, end) = self.places[number], self.sources[number]
        if number % 2:  # a piece that was folded
            return start, end
        return start + at - place, start + at - place + 1


def _turned_span(start: int, end: int, part: tuple[int, int]) -> tuple[int, int]:
    """The least span of the original that holds a span of the text in which the part is turned round."""
    begin, stop = part
    first = start if start < begin else begin if end > stop else begin + stop - end
    last = end if end > stop else stop if start < begin else begin + stop - start
    return (first - 1 if first == begin else first), last  # with the mark that turns it


def fold(text: str) -> FoldedText:
    """The text with overrides, compatibility forms, invisible characters, foreign digits and look-alike letters undone."""
    turned = tuple(overridden_parts(text))
    straight = in_order_of_sight(text) if turned else text
    pieces: list[str] = []
    sources: list[tuple[int, int]] = []
    done = 0
    for match in _UNUSUAL.finditer(straight):
        start, end = match.span()
        pieces += [straight[done:start], _folded(match[0])]
        sources += [(done, start), (start, end)]
        done = end
    pieces.append(straight[done:])
    sources.append((done, len(text)))
    places = itertools.accumulate(map(len, pieces[:-1]), initial=0)
    return FoldedText("".join(pieces), text, tuple(places), tuple(sources), turned)


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
    found = match[0]
    if _LETTER.search(found) is None:
        return found
    start = _WORDS_BEFORE.match(found).end()  # type: ignore[union-attr]
    end = len(found) - _WORDS_BEFORE.match(found[:start:-1]).end() if start < len(found) else start  # type: ignore[union-attr]
    token = found[start:end]
    letters = sum(map(token.count, _LETTERS))
    digits = sum(map(str.isdigit, token))
    return found[:start] + (token.translate(_DIGIT_LIKE) if digits >= letters else token) + found[end:]
