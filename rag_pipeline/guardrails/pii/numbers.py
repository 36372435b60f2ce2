"""Personal numbers among all numbers: digits are gathered over separators, then judged by shape, check digit and context."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from rag_pipeline.guardrails.pii import checksums
from rag_pipeline.guardrails.pii.kinds import Kind

_RUN = re.compile(r"\d(?:[-. /_~*()\n\t]{0,3}\d){6,}")
_GROUP = re.compile(r"\d+")
_CONTEXT_CHARACTERS = 40
_RESIDENT_WORDS = re.compile(r"주민|외국인|등록\s?번호|(?i:\brrn\b|resident|registration n|alien|\bfrn\b)")
_SSN_WORDS = re.compile(r"(?i:\bssn\b|social.?security)")
_PHONE_WORDS = re.compile(r"(?i:\btel\b|phone|mobile|\bfax\b|call)|전화|연락처|휴대|핸드폰|팩스")
_ACCOUNT_WORDS = re.compile(
    r"계좌|은행|예금|입금|송금|이체|농협|신협|새마을금고|카카오뱅크|토스뱅크|(?i:bank account|account n|acct)"
)
_CARD_SHAPES = ((4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), (4, 4, 4, 1))
_LANDLINE = re.compile(r"0(?:2|3[1-3]|4[1-4]|5[1-5]|6[1-4]|70|50[2-8])")
_PLUS = re.compile(r"\+ ?\(?$|\($")
_MAX_GROUPS, _MAX_DIGITS = 6, 20


@dataclass(frozen=True, slots=True)
class _Window:
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
        return self.text[max(0, self.start - _CONTEXT_CHARACTERS) : self.start]

    @property
    def touches_word(self) -> bool:
        """A letter or digit of ASCII stands right beside it, as in a digest or an identifier."""
        return _is_word(self.text[self.start - 1 : self.start]) or _is_word(self.text[self.end : self.end + 1])

    @property
    def is_solid(self) -> bool:
        return len(self.shape) == 1

    def has_context(self, words: re.Pattern[str]) -> bool:
        return words.search(self.before) is not None


def find_numbers(text: str) -> Iterator[tuple[Kind, int, int]]:
    """Kind and span of everything in the folded text that is a personal number; spans may overlap."""
    for run in _RUN.finditer(text):
        for window in _windows(text, *run.span()):
            kind = _kind(window)
            if kind is not None:
                plus = _PLUS.search(window.before) if kind is Kind.PHONE else None
                yield kind, window.start - (len(plus[0]) if plus else 0), window.end


def _windows(text: str, start: int, end: int) -> Iterator[_Window]:
    """Windows that may be a number of a person: the whole run, few groups, or single digits with two kinds of separators."""
    groups = [(start + m.start(), start + m.end()) for m in _GROUP.finditer(text[start:end])]
    last_group = len(groups) - 1
    if sum(b - a for a, b in groups[: _MAX_DIGITS + 1]) <= _MAX_DIGITS and last_group <= _MAX_DIGITS:
        yield _window(text, groups, 0, last_group)
    for first in range(len(groups)):
        count = longest = 0
        separators: set[str] = set()
        for last in range(first, len(groups)):
            length = groups[last][1] - groups[last][0]
            count, longest = count + length, max(longest, length)
            if last > first:
                separators.add(text[groups[last - 1][1] : groups[last][0]])
            if count > _MAX_DIGITS or (longest > 1 and last - first >= _MAX_GROUPS):
                break
            if count >= 7 and (longest > 1 or len(separators) > 1) and (first, last) != (0, last_group):
                yield _window(text, groups, first, last)


def _window(text: str, groups: list[tuple[int, int]], first: int, last: int) -> _Window:
    inside = groups[first : last + 1]
    lengths = [end - start for start, end in inside]
    separators = [text[a[1] : b[0]] for a, b in itertools.pairwise(inside)]
    around = [(groups[at], groups[at + 1], here) for at, here in ((first - 1, 0), (last, -1)) if 0 <= at < len(groups) - 1]
    usual = separators[0] if separators else None
    digits = "".join(text[start:end] for start, end in inside)
    shape, kept = _regrouped(lengths, separators)
    return _Window(
        text=text,
        start=inside[0][0],
        end=inside[-1][1],
        digits=digits,
        shape=shape,
        separators=kept,
        is_whole=not around,
        is_listed=any(
            text[a[1] : b[0]] == (usual or text[a[1] : b[0]]) and (b[1] - b[0] if here else a[1] - a[0]) == lengths[here]
            for a, b, here in around
        ),
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


def _kind(window: _Window) -> Kind | None:
    length = len(window.digits)
    if length == 13 and _is_resident(window):
        return Kind.KR_FRN if checksums.is_foreigner(window.digits) else Kind.KR_RRN
    if 13 <= length <= 19 and _is_card(window):
        return Kind.CREDIT_CARD
    if length == 9 and _is_ssn(window):
        return Kind.US_SSN
    if _is_phone(window):
        return Kind.PHONE
    if 10 <= length <= 14 and _is_account(window):
        return Kind.BANK_ACCOUNT
    return None


def _is_resident(window: _Window) -> bool:
    if not checksums.is_birth_number(window.digits):
        return False
    if window.shape == (6, 7):
        return window.separators[0].strip(" \n\t") != "" or window.is_whole or not window.is_listed
    if window.has_context(_RESIDENT_WORDS):
        return window.is_whole or not window.is_listed
    is_plain = (window.is_solid and not window.touches_word) or window.is_whole
    return is_plain and checksums.has_resident_check_digit(window.digits)


def _is_card(window: _Window) -> bool:
    if not checksums.is_card(window.digits):
        return False
    if window.is_solid:
        return not window.touches_word and (window.is_whole or not window.is_listed)
    if window.shape in _CARD_SHAPES:
        return (len(set(window.separators)) == 1 or window.is_whole) and not (window.is_listed and "-" not in window.separators)
    return window.is_whole


def _is_ssn(window: _Window) -> bool:
    if not checksums.is_ssn(window.digits):
        return False
    if window.shape == (3, 2, 4):
        is_even = len(set(window.separators)) == 1 and not window.touches_word
        return is_even and ("-" in window.separators[0] or window.is_whole)
    return window.has_context(_SSN_WORDS) and window.is_whole


def _is_phone(window: _Window) -> bool:
    digits, length = window.digits, len(window.digits)
    plus = _PLUS.search(window.before)
    if plus and plus[0].startswith("+") and (" " not in plus[0] or window.text[window.start + 1] == " "):
        return 8 <= length <= 15 and digits[0] != "0" and (len(window.shape) > 1 or length >= 10)
    if window.touches_word:
        return False
    if _is_korean_phone(digits, window):
        return True
    is_american = window.shape == (3, 3, 4) and digits[0] in "23456789" and digits[3] in "23456789"
    return is_american and "\n" not in "".join(window.separators) and (window.is_whole or not window.is_listed)


def _is_korean_phone(digits: str, window: _Window) -> bool:
    if digits[:4] == "0082":
        digits = "0" + digits[4:].removeprefix("0")
    elif digits[:2] == "82" and window.has_context(_PHONE_WORDS):
        digits = "0" + digits[2:].removeprefix("0")
    if re.fullmatch(r"010\d{8}|01[16-9]\d{7,8}", digits):
        is_split = window.shape in ((3, 4, 4), (3, 3, 4))
        return is_split or (window.is_solid and digits.startswith("010")) or window.is_whole
    if not _LANDLINE.match(digits) or not 9 <= len(digits) <= 12:
        return False
    is_split = len(window.shape) == 3 and window.shape[2] == 4 and window.shape[1] in (3, 4) and window.shape[0] in (2, 3, 4)
    is_even = len(set(window.separators)) == 1 or ")" in "".join(window.separators)
    return (is_split and is_even and window.shape[0] == len(_LANDLINE.match(digits)[0])) or (  # type: ignore[index]
        window.is_whole and window.has_context(_PHONE_WORDS)
    )


def _is_account(window: _Window) -> bool:
    return (window.is_whole or not window.is_listed) and not window.touches_word and window.has_context(_ACCOUNT_WORDS)


def _is_word(character: str) -> bool:
    return character.isascii() and character.isalnum()
