"""What stands in place of a masked value. Tokens hold letters only, so that no rule finds a number in them."""

import hashlib
import hmac
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from rag_pipeline.guardrails.pii.subjects import subject_value

_LETTERS = "abcdefghijklmnop"
_ENCRYPTED = re.compile(r"\[[A-Z][A-Z0-9_]*:enc-([a-p]+)\]")
_HASH_BYTES = 8


class Operator(StrEnum):
    """How a value is masked."""

    REPLACE = "replace"
    """``[KR_RRN]``"""
    MASK = "mask"
    """``******-*******``"""
    HASH = "hash"
    """``[KR_RRN:hdpe...]``: equal values stay equal, and only who has the key can tell which."""
    ENCRYPT = "encrypt"
    """``[KR_RRN:enc-...]``: who has the key can turn it back."""


KEYED = (Operator.HASH, Operator.ENCRYPT)


class Cipher(Protocol):
    """Reversible and deterministic encryption, so that a fresh build is equal."""

    def encrypt(self, value: bytes, kind: bytes) -> bytes:
        """The same for the same value and kind."""

    def decrypt(self, value: bytes, kind: bytes) -> bytes:
        """What was encrypted under that kind. Raises ValueError for another key or kind."""


def stand_in(kind: str, value: str, operator: str, *, key: bytes = b"", cipher: Cipher | None = None) -> str:
    """What is written instead of the value."""
    if operator == Operator.MASK:
        return "".join("*" if character.isalnum() else character for character in value)
    if operator == Operator.HASH:
        digest = hmac.new(key, f"{kind}\0{subject_value(value)}".encode(), hashlib.sha256).digest()
        return f"[{kind}:{as_letters(digest[:_HASH_BYTES])}]"
    if operator == Operator.ENCRYPT and cipher is not None:
        return f"[{kind}:enc-{as_letters(cipher.encrypt(value.encode('utf-8', 'surrogatepass'), kind.encode()))}]"
    return f"[{kind}]"


def decrypt_tokens(text: str, cipher: Cipher) -> str:
    """The text with every encrypted value turned back. Raises ValueError where the key is another one."""

    def reveal(match: re.Match[str]) -> str:
        kind = match[0][1:].partition(":")[0]
        return cipher.decrypt(_from_letters(match[1]), kind.encode()).decode("utf-8", "surrogatepass")

    return _ENCRYPTED.sub(reveal, text)


def keyed_letters(text: str, key: bytes) -> str:
    """Eight letters that stand for the text and tell nothing of it without the key."""
    return as_letters(hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()[:4])


def as_letters(data: bytes) -> str:
    """Bytes as letters from a to p, two a byte."""
    return "".join(_LETTERS[int(digit, 16)] for digit in data.hex())


def _from_letters(text: str) -> bytes:
    return bytes.fromhex("".join(f"{_LETTERS.index(letter):x}" for letter in text))


Replace = Callable[[str, str], str]
"""Kind and value to what stands instead."""
