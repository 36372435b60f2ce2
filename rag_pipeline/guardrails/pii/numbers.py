"""Personal numbers among all numbers: digits are gathered over separators, then judged by shape, check digit and context."""

import re
from collections.abc import Iterator

from rag_pipeline.guardrails.pii import checksums
from rag_pipeline.guardrails.pii.contexts import ACCOUNT_WORDS, BANK_BEFORE, PHONE_WORDS, RESIDENT_WORDS, SSN_WORDS
from rag_pipeline.guardrails.pii.kinds import Kind
from rag_pipeline.guardrails.pii.watch import Watch, unwatched
from rag_pipeline.guardrails.pii.windows import CARD_SHAPES, PLUS, Window, find_windows

_LANDLINE = re.compile(r"0(?:2|3[1-3]|4[1-4]|5[1-5]|6[1-4]|70|50[2-8])")


def find_numbers(text: str, watch: Watch = unwatched) -> Iterator[tuple[Kind, int, int]]:
    """Kind and span of everything in the folded text that is a personal number; spans may overlap."""
    for window in find_windows(text, watch):
        kind = _kind(window)
        if kind is not None:
            plus = PLUS.search(window.before) if kind is Kind.PHONE else None
            yield kind, window.start - (len(plus[0]) if plus else 0), window.end


def _kind(window: Window) -> Kind | None:
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


def _is_resident(window: Window) -> bool:
    if not checksums.is_birth_number(window.digits):
        return False
    if window.shape == (6, 7):
        return window.separators[0].strip(" \n\t") != "" or window.is_whole or not window.is_listed
    if window.has_context(RESIDENT_WORDS):
        return window.is_whole or not window.is_listed
    is_plain = (window.is_solid and not window.touches_word) or window.is_whole
    return is_plain and checksums.has_resident_check_digit(window.digits)


def _is_card(window: Window) -> bool:
    if not checksums.is_card(window.digits):
        return False
    if window.is_solid:
        return not window.touches_word and (window.is_whole or not window.is_listed)
    if window.shape in CARD_SHAPES:
        return (len(set(window.separators)) == 1 or window.is_whole) and not (window.is_listed and "-" not in window.separators)
    return window.is_whole


def _is_ssn(window: Window) -> bool:
    if not checksums.is_ssn(window.digits):
        return False
    if window.shape == (3, 2, 4):
        is_even = len(set(window.separators)) == 1 and not window.touches_word
        return is_even and ("-" in window.separators[0] or window.is_whole)
    return window.has_context(SSN_WORDS) and window.is_whole


def _is_phone(window: Window) -> bool:
    digits, length = window.digits, len(window.digits)
    plus = PLUS.search(window.before)
    if plus and plus[0].startswith("+") and (" " not in plus[0] or window.text[window.start + 1] == " "):
        return 8 <= length <= 15 and digits[0] != "0" and (len(window.shape) > 1 or length >= 10)
    if window.touches_word:
        return False
    if _is_korean_phone(digits, window):
        return True
    is_american = window.shape == (3, 3, 4) and digits[0] in "23456789" and digits[3] in "23456789"
    return is_american and "\n" not in "".join(window.separators) and (window.is_whole or not window.is_listed)


def _is_korean_phone(digits: str, window: Window) -> bool:
    if digits[:4] == "0082":
        digits = "0" + digits[4:].removeprefix("0")
    elif digits[:2] == "82" and window.has_context(PHONE_WORDS):
        digits = "0" + digits[2:].removeprefix("0")
    if re.fullmatch(r"010\d{8}|01[16-9]\d{7,8}", digits):
        is_split = window.shape in ((3, 4, 4), (3, 3, 4))
        return is_split or (window.is_solid and digits.startswith("010")) or window.is_whole
    if not _LANDLINE.match(digits) or not 9 <= len(digits) <= 12:
        return False
    is_split = len(window.shape) == 3 and window.shape[2] == 4 and window.shape[1] in (3, 4) and window.shape[0] in (2, 3, 4)
    is_even = len(set(window.separators)) == 1 or ")" in "".join(window.separators)
    return (is_split and is_even and window.shape[0] == len(_LANDLINE.match(digits)[0])) or (  # type: ignore[index]
        window.is_whole and window.has_context(PHONE_WORDS)
    )


def _is_account(window: Window) -> bool:
    is_apart = (window.is_whole or not window.is_listed) and not window.touches_word
    return is_apart and (window.has_context(ACCOUNT_WORDS) or _is_after_bank(window))


def _is_after_bank(window: Window) -> bool:
    """Whether the bare name of a bank stands right before it; 3-2-5 is the number of a company."""
    is_hyphened = set(window.separators) == {"-"} and len(window.shape) >= 3 and window.shape != (3, 2, 5)
    return is_hyphened and BANK_BEFORE.search(window.before) is not None
