"""Neighbouring groups of digits that may be a number of a person, told from their lengths alone before anything is built.

A table of figures is one run of thousands of groups, so that every step here is a regular expression over the lengths, or
bounded by what the longest number may hold.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rag_pipeline.guardrails.pii import checksums
from rag_pipeline.guardrails.pii.contexts import ANY_SHAPE_WORDS
from rag_pipeline.guardrails.pii.watch import Watch

CARD_SHAPES = ((4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), (4, 4, 4, 1))
PLUS = re.compile(r"\+ ?\(?$|\($")
CONTEXT_CHARACTERS = 40
_SHAPES = (
    (6, 7),
    *CARD_SHAPES,
    (3, 2, 4),
    *((first, second, 4) for first in (2, 3, 4) for second in (3, 4)),
    *((country, area, second, 4) for country, area in ((2, 2), (2, 3)) for second in (3, 4)),
)
"""Lengths of the groups of every number that is known by its look."""
_RUN = re.compile(r"\d(?:[-. /_~*()\n\t]{0,3}\d){6,}")
_GROUP = re.compile(r"\d+")
_MAX_GROUPS, _MAX_DIGITS = 6, 20
_MIN_DIGITS = 8
_SOLID = range(11, 20)
"""Digits of numbers that are known without any separator."""
_ACCOUNT = range(10, 15)


@dataclass(frozen=True, slots=True)
class Window:
    """Some neighbouring groups of a run of digits, and what is around them."""

    text: str
    start: int
    end: int
    digits: str
    shape: tuple[int, ...]
    """Lengths of its groups; digits that stand one by one are grouped at their stronger separators."""
    separators: tuple[str, ...]
    is_whole: bool
    """It is the whole run: no digit stands near."""
    is_listed: bool
    """A neighbour in the run looks just like its own groups, so that it may be a row of figures."""

    @property
    def before(self) -> str:
        return self.text[max(0, self.start - CONTEXT_CHARACTERS) : self.start]

    @property
    def touches_word(self) -> bool:
        """A letter or digit of ASCII stands right beside it, as in a digest or an identifier."""
        return is_word(self.text[self.start - 1 : self.start]) or is_word(self.text[self.end : self.end + 1])

    @property
    def is_solid(self) -> bool:
        return len(self.shape) == 1

    def has_context(self, words: re.Pattern[str]) -> bool:
        return words.search(self.before) is not None


def is_word(character: str) -> bool:
    """Whether it is a letter or digit of ASCII."""
    return character.isascii() and character.isalnum()


def find_windows(text: str, watch: Watch) -> Iterator[Window]:
    """Windows of the folded text that may be a number of a person; they may overlap."""
    for run in _RUN.finditer(text):
        watch()
        groups = [match.span() for match in _GROUP.finditer(text, *run.span())]
        yield from _windows(text, groups, watch)


def _windows(text: str, groups: list[tuple[int, int]], watch: Watch) -> Iterator[Window]:
    lengths = [end - start for start, end in groups]
    whole = (0, len(groups) - 1)
    if len(groups) <= _MAX_DIGITS + 1 and _MIN_DIGITS <= sum(lengths) <= _MAX_DIGITS:
        yield _window(text, groups, *whole)
    if len(groups) == 1:
        return
    shaped = itertools.chain(_known_shapes(lengths), _single_digits(text, groups, lengths))
    possible = (place for place in shaped if _is_possible(_digits(text, groups[place[0] : place[1] + 1]), watch))
    for first, last in itertools.chain(possible, _after_plus(text, groups), _after_words(text, groups)):
        watch()
        if (first, last) != whole:
            yield _window(text, groups, first, last)


def _digits(text: str, groups: Sequence[tuple[int, int]]) -> str:
    return "".join([text[start:end] for start, end in groups])


def _is_possible(digits: str, watch: Watch) -> bool:
    """Whether digits as long as a card or a resident number can be one; tables of figures fail here at little cost."""
    watch()
    if len(digits) < 13 or digits.startswith(("82", "00")):
        return True
    return checksums.is_card(digits) or (len(digits) == 13 and checksums.is_birth_number(digits))


def _letters(lengths: Sequence[int]) -> str:
    """Lengths as letters, ``A`` for 1, so that shapes are found by regular expressions."""
    return "".join([chr(64 + min(length, _MAX_DIGITS + 1)) for length in lengths])


_CODES = [_letters(shape) for shape in _SHAPES]
_ANY_SHAPE = re.compile(f"(?={'|'.join(_CODES)}|[{_letters(_SOLID)}])")


def _known_shapes(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Places of groups whose lengths are those of a known number."""
    code = _letters(lengths)
    for match in _ANY_SHAPE.finditer(code):
        first = match.start()
        if lengths[first] in _SOLID:
            yield first, first
        for shape in _CODES:
            if code.startswith(shape, first):
                yield first, first + len(shape) - 1


def _single_shape(shape: Sequence[int]) -> re.Pattern[str]:
    """Finds the separators of a number written digit by digit, with another separator between its groups."""
    first, *others = shape
    return re.compile(rf"(?=(.)\1{{{first - 2}}}" + "".join(rf"(?!\1).\1{{{length - 1}}}" for length in others) + ")")


_SINGLE_SHAPES = [(sum(shape), _single_shape(shape)) for shape in _SHAPES]
_SINGLES = re.compile("A{9,}")


def _single_digits(text: str, groups: list[tuple[int, int]], lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Places of single digits that form a known shape by their separators."""
    for stretch in _SINGLES.finditer(_letters(lengths)):
        inside = groups[stretch.start() : stretch.end()]
        kinds: dict[str, str] = {}
        pieces = [text[a[1] : b[0]] for a, b in itertools.pairwise(inside)]
        code = "".join([kinds.setdefault(piece, chr(64 + len(kinds))) for piece in pieces])
        if len(kinds) < 2:
            continue
        for count, pattern in _SINGLE_SHAPES:
            for match in pattern.finditer(code):
                yield stretch.start() + match.start(), stretch.start() + match.start() + count - 1


def _after_plus(text: str, groups: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Places of all numbers that begin right after a plus; one can only stand before the run."""
    start = groups[0][0]
    plus = PLUS.search(text[max(0, start - 3) : start])
    if plus and plus[0].startswith("+"):
        yield from _counted(text, groups, 0, range(8, 16))


def _after_words(text: str, groups: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Places of numbers near the last telling word before the run."""
    start = groups[0][0]
    offset = max(0, start - CONTEXT_CHARACTERS)
    words = list(ANY_SHAPE_WORDS.finditer(text[offset:start]))
    reach = offset + words[-1].start() + CONTEXT_CHARACTERS if words else -1
    for first, (begin, _) in enumerate(groups):
        if begin > reach:
            break
        yield from _counted(text, groups, first, _ACCOUNT)


def _counted(text: str, groups: list[tuple[int, int]], first: int, wanted: range) -> Iterator[tuple[int, int]]:
    """Places from ``first`` on with as many digits as wanted: few groups, or single digits with two kinds of separators."""
    count = longest = 0
    separators: set[str] = set()
    for last in range(first, min(len(groups), first + _MAX_DIGITS)):
        length = groups[last][1] - groups[last][0]
        count, longest = count + length, max(longest, length)
        if last > first:
            separators.add(text[groups[last - 1][1] : groups[last][0]])
        if count >= wanted.stop or (longest > 1 and last - first >= _MAX_GROUPS):
            return
        if count in wanted and (longest > 1 or len(separators) > 1) and (first == 0 or not _is_listed(text, groups, first, last)):
            yield first, last


def _is_listed(text: str, groups: Sequence[tuple[int, int]], first: int, last: int) -> bool:
    """Whether the group before or after is as long as the one at that end, and set apart like the first two inside."""
    usual = text[groups[first][1] : groups[first + 1][0]] if last > first else None
    for left, right, inner, outer in ((first - 1, first, first, first - 1), (last, last + 1, last, last + 1)):
        if left < 0 or right >= len(groups):
            continue
        separator = text[groups[left][1] : groups[right][0]]
        if separator == (usual or separator) and _length(groups[inner]) == _length(groups[outer]):
            return True
    return False


def _length(group: tuple[int, int]) -> int:
    return group[1] - group[0]


def _window(text: str, groups: list[tuple[int, int]], first: int, last: int) -> Window:
    inside = groups[first : last + 1]
    lengths = [end - start for start, end in inside]
    separators = [text[a[1] : b[0]] for a, b in itertools.pairwise(inside)]
    shape, kept = _regrouped(lengths, separators)
    return Window(
        text=text,
        start=inside[0][0],
        end=inside[-1][1],
        digits=_digits(text, inside),
        shape=shape,
        separators=kept,
        is_whole=len(inside) == len(groups),
        is_listed=_is_listed(text, groups, first, last),
    )


def _regrouped(lengths: list[int], separators: list[str]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Digits that stand one by one, grouped where the separator is another one than a single blank."""
    if len(lengths) < 4 or max(lengths) > 1:
        return tuple(lengths), tuple(separators)
    common = max(set(separators), key=separators.count)
    shape, kept = [1], []
    for separator in separators:
        if separator == common:
            shape[-1] += 1
        else:
            shape.append(1)
            kept.append(separator)
    return tuple(shape), tuple(kept)
