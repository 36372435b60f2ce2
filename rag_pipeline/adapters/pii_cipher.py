"""Deterministic encryption of masked values: AES-SIV of `cryptography`. The same value is the same token in every build."""

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING

from rag_pipeline.guardrails.pii.operators import decrypt_tokens

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV


class SivCipher:
    """Port ``Cipher``: AES-256-SIV under a key derived from the secret, the kind as associated data."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @cached_property
    def _siv(self) -> "AESSIV":
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV

        return AESSIV(hashlib.sha512(b"rag-pipeline pii encrypt\0" + self._secret).digest())

    def encrypt(self, value: bytes, kind: bytes) -> bytes:
        return self._siv.encrypt(value, [kind])

    def decrypt(self, value: bytes, kind: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        try:
            return self._siv.decrypt(value, [kind])
        except InvalidTag:
            raise ValueError("encrypted under another key: set RAG_PII_KEY to the one that this index was built with") from None


def decrypt(text: str, secret: str) -> str:
    """The text with every value turned back that ``operator: encrypt`` masked. Raises ValueError for another key."""
    return decrypt_tokens(text, SivCipher(secret.encode()))
