"""Check digits: what tells a number of a person from any other number."""

from datetime import date

_RRN_WEIGHTS = (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)
_CENTURIES = {"9": 1800, "0": 1800, "1": 1900, "2": 1900, "5": 1900, "6": 1900, "3": 2000, "4": 2000, "7": 2000, "8": 2000}
_CARD_LENGTHS = {"3": (14, 15), "4": (13, 16, 19), "5": (16,), "2": (16,), "6": (16, 19), "9": (16,)}
_IBAN_LENGTHS = dict(
    pair.split(":")
    for pair in [
        "AD:24",
        "AE:23",
        "AL:28",
        "AT:20",
        "AZ:28",
        "BA:20",
        "BE:16",
        "BG:22",
        "BH:22",
        "BR:29",
        "BY:28",
        "CH:21",
        "CR:22",
        "CY:28",
        "CZ:24",
        "DE:22",
        "DK:18",
        "DO:28",
        "EE:20",
        "EG:29",
        "ES:24",
        "FI:18",
        "FO:18",
        "FR:27",
        "GB:22",
        "GE:22",
        "GI:23",
        "GL:18",
        "GR:27",
        "GT:28",
        "HR:21",
        "HU:28",
        "IE:22",
        "IL:23",
        "IQ:23",
        "IS:26",
        "IT:27",
        "JO:30",
        "KW:30",
        "KZ:20",
        "LB:28",
        "LC:32",
        "LI:21",
        "LT:20",
        "LU:20",
        "LV:21",
        "LY:25",
        "MC:27",
        "MD:24",
        "ME:22",
        "MK:19",
        "MR:27",
        "MT:31",
        "MU:30",
        "NL:18",
        "NO:15",
        "PK:24",
        "PL:28",
        "PS:29",
        "PT:25",
        "QA:29",
        "RO:24",
        "RS:22",
        "SA:24",
        "SC:31",
        "SE:24",
        "SI:19",
        "SK:24",
        "SM:27",
        "ST:25",
        "SV:28",
        "TL:23",
        "TN:24",
        "TR:26",
        "UA:29",
        "VA:22",
        "VG:24",
        "XK:20",
    ]
)


def is_birth_number(digits: str) -> bool:
    """Whether 13 digits begin with a day that was and the mark of a century: the form of a Korean resident number."""
    century = _CENTURIES[digits[6]]
    try:
        date(century + int(digits[:2]), int(digits[2:4]), int(digits[4:6]))
    except ValueError:
        return False
    return True


def is_foreigner(digits: str) -> bool:
    """Whether a resident number is a foreigner's."""
    return digits[6] in "5678"


def has_resident_check_digit(digits: str) -> bool:
    """Whether the last digit of a Korean resident number is right; since October 2020 it need not be."""
    total = sum(weight * int(digit) for weight, digit in zip(_RRN_WEIGHTS, digits[:12], strict=True))
    check = (11 - total % 11) % 10
    return int(digits[12]) == ((check + 2) % 10 if is_foreigner(digits) else check) or (int(digits[12]) == check)


def is_ssn(digits: str) -> bool:
    """Whether nine digits may be a US social security number."""
    return digits[:3] not in ("000", "666") and digits[0] != "9" and digits[3:5] != "00" and digits[5:] != "0000"


def is_card(digits: str) -> bool:
    """Whether the digits have a card issuer's prefix and length and pass Luhn."""
    if len(digits) not in _CARD_LENGTHS.get(digits[0], ()) or len(set(digits)) == 1:
        return False
    first_two, first_four = int(digits[:2]), int(digits[:4])
    is_issued = {
        "2": 2221 <= first_four <= 2720,
        "3": (len(digits) == 15 and first_two in (34, 37)) or (len(digits) == 14 and first_two in (30, 36, 38, 39)),
        "5": 51 <= first_two <= 59,
        "6": first_two in (60, 62, 64, 65),
    }.get(digits[0], True)
    return is_issued and passes_luhn(digits)


def passes_luhn(digits: str) -> bool:
    """Whether the Luhn sum is a multiple of ten."""
    doubled = (2 * int(digit) for digit in digits[-2::-2])
    return (sum(map(int, digits[::-2])) + sum(value - 9 if value > 9 else value for value in doubled)) % 10 == 0


def is_iban(text: str) -> bool:
    """Whether letters and digits, upper case and without blanks, are an IBAN: length of the country and mod 97."""
    if len(text) != int(_IBAN_LENGTHS.get(text[:2], 0)) or not text[2:4].isdigit():
        return False
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1


def iban_length(country: str) -> int:
    """Characters of an IBAN of the country; 0 where there is none."""
    return int(_IBAN_LENGTHS.get(country, 0))
