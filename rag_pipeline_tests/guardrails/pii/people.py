"""Personal data that belongs to nobody, made from a seed, plain and in disguise."""

import random
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from rag_pipeline.guardrails.pii import checksums

GIVEN = ("Alice", "Robert", "Maria", "James", "Linda", "Michael", "Susan", "David", "Karen", "Thomas", "Nancy", "Daniel")
FAMILY = (
    "Johnson",
    "Miller",
    "Garcia",
    "Thompson",
    "Anderson",
    "Martinez",
    "Robinson",
    "Clark",
    "Lewis",
    "Walker",
    "Young",
    "Hall",
)
CITIES = ("Berlin", "Chicago", "London", "Madrid", "Tokyo", "Boston", "Vienna", "Toronto", "Seattle", "Paris")
EASTERN = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
CYRILLIC = str.maketrans("aceopxABEHKMOPCT", "асеорхАВЕНКМОРСТ")
LETTERS = str.maketrans({"0": "O", "1": "l"})


@dataclass(frozen=True, slots=True)
class Value:
    """A value and its kind."""

    kind: str
    text: str


def values(chance: random.Random) -> list[Value]:
    """One value of each kind."""
    return [make(chance) for make in MAKERS]


def _birth(chance: random.Random) -> str:
    return f"{chance.randint(60, 99):02}{chance.randint(1, 12):02}{chance.randint(1, 28):02}"


def _numbers(chance: random.Random, count: int) -> str:
    return "".join(str(chance.randint(0, 9)) for _ in range(count))


def _resident(chance: random.Random, marks: str) -> str:
    start = _birth(chance) + chance.choice(marks) + _numbers(chance, 5)
    number = next(start + str(last) for last in range(10) if checksums.has_resident_check_digit(start + str(last)))
    return f"{number[:6]}-{number[6:]}"


def resident(chance: random.Random) -> Value:
    return Value("KR_RRN", _resident(chance, "12"))


def foreigner(chance: random.Random) -> Value:
    return Value("KR_FRN", _resident(chance, "56"))


def recent_resident(chance: random.Random) -> Value:
    """A number as it is given out since October 2020: the last digit checks nothing."""
    start = (
        f"2{chance.randint(1, 4)}{chance.randint(1, 12):02}{chance.randint(1, 28):02}{chance.choice('34')}{_numbers(chance, 5)}"
    )
    last = next(str(digit) for digit in range(10) if not checksums.has_resident_check_digit(start + str(digit)))
    return Value("KR_RRN", f"{start[:6]}-{start[6:]}{last}")


def security_number(chance: random.Random) -> Value:
    return Value("US_SSN", f"{chance.randint(100, 665)}-{chance.randint(10, 99)}-{chance.randint(1000, 9999)}")


def card(chance: random.Random) -> Value:
    start = chance.choice(("4", "51", "52", "55", "62")) + _numbers(chance, 13)
    start = start[:15].ljust(15, "7")
    number = next(start + str(last) for last in range(10) if checksums.passes_luhn(start + str(last)))
    return Value("CREDIT_CARD", "-".join(number[at : at + 4] for at in range(0, 16, 4)))


def email(chance: random.Random) -> Value:
    name = f"{chance.choice(GIVEN)}.{chance.choice(FAMILY)}{chance.randint(10, 99)}".lower()
    return Value("EMAIL", f"{name}@{chance.choice(('example.com', 'mail.example.co.kr', 'beispiel.de'))}")


def mobile(chance: random.Random) -> Value:
    return Value("PHONE", f"010-{chance.randint(2000, 9999)}-{_numbers(chance, 4)}")


def phone(chance: random.Random) -> Value:
    return Value(
        "PHONE", f"+{chance.choice(('49', '44', '1', '33'))} {chance.randint(200, 999)} {chance.randint(1000000, 9999999)}"
    )


def iban(chance: random.Random) -> Value:
    account = _numbers(chance, 18)
    number = next(f"DE{check:02}{account}" for check in range(2, 99) if checksums.is_iban(f"DE{check:02}{account}"))
    return Value("IBAN", " ".join(number[at : at + 4] for at in range(0, len(number), 4)))


def address(chance: random.Random) -> Value:
    return Value(
        "IP_ADDRESS", f"{chance.randint(130, 220)}.{chance.randint(60, 160)}.{chance.randint(0, 254)}.{chance.randint(1, 254)}"
    )


MAKERS: tuple[Callable[[random.Random], Value], ...] = (
    resident,
    recent_resident,
    foreigner,
    security_number,
    card,
    email,
    mobile,
    phone,
    iban,
    address,
)


def full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def arabic(text: str) -> str:
    return text.translate(EASTERN)


def zero_width(text: str) -> str:
    return "\u200b".join(text)


def spaced(text: str) -> str:
    return " ".join(text.replace(" ", ""))


def dotted(text: str) -> str:
    """Other separators: a mail address is spelt out, a network address keeps its dots, blanks come around them."""
    if "@" in text:
        return text.replace("@", " (at) ").replace(".", " [dot] ")
    if text.count(".") == 3:
        return text.replace(".", "．")
    return text.replace("-", "–").replace(" ", "\u2009") if text[0] == "+" else text.replace("-", "·").replace(" ", "‐")


def look_alike(text: str) -> str:
    """Some digits as letters, some letters as another script's."""
    digits = [at for at, c in enumerate(text) if c in "01"]
    chosen = set(digits[: max(1, len(digits) // 2)]) if text[0] != "+" else set()
    changed = "".join(c.translate(LETTERS) if at in chosen and "@" not in text else c for at, c in enumerate(text))
    return changed if text[:2] == "DE" else changed.translate(CYRILLIC)


def combining(text: str) -> str:
    """Decomposed, with a mark on every third character."""
    return unicodedata.normalize("NFD", "".join(c + "\u0301" if at % 3 == 1 and c.isalnum() else c for at, c in enumerate(text)))


def mixed(text: str) -> str:
    return "\u200c".join(full_width(c) if at % 2 else arabic(c) for at, c in enumerate(text))


DISGUISES: dict[str, Callable[[str], str]] = {
    "full_width": full_width,
    "arabic": arabic,
    "zero_width": zero_width,
    "spaced": spaced,
    "dotted": dotted,
    "look_alike": look_alike,
    "combining": combining,
    "mixed": mixed,
}
