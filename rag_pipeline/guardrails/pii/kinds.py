"""The kinds of personal data that rules find by themselves, and those that need a model."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """A kind of patterned personal data."""

    KR_RRN = "KR_RRN"
    """Korean resident registration number."""
    KR_FRN = "KR_FRN"
    """Korean foreigner registration number."""
    US_SSN = "US_SSN"
    CREDIT_CARD = "CREDIT_CARD"
    EMAIL = "EMAIL"
    PHONE = "PHONE"
    IBAN = "IBAN"
    BANK_ACCOUNT = "BANK_ACCOUNT"
    """A Korean bank account, told by the words before it."""
    IP_ADDRESS = "IP_ADDRESS"


PERSON, LOCATION = "PERSON", "LOCATION"
NAMES = (PERSON, LOCATION)
"""Found by a model of the language, not by rules."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A piece of a text that is personal data."""

    start: int
    end: int
    kind: str
    is_patterned: bool = True
    """Found by a rule; such a finding wins over one of a model."""
