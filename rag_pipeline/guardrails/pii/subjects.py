"""A person's values as keyed digests: comparable, and useless without the key."""

import hashlib
import hmac
import unicodedata

from rag_pipeline.guardrails.pii.folding import fold


def subject_digest(value: str, key: bytes) -> str:
    """HMAC-SHA256 of the value as a reader sees it, separators and case left out: 64 hex digits; empty without a key.

    ``900101-1234567`` and the same number in full-width digits, spaced or dotted give one digest.
    """
    if not key:
        return ""
    return hmac.new(key, subject_value(value).encode(), hashlib.sha256).hexdigest()


def subject_value(value: str) -> str:
    """What is left of a value when every disguise is undone: its letters, digits and ``@``, in lower case."""
    folded = fold(value).numeric.casefold()
    composed = unicodedata.normalize("NFC", folded)
    return "".join(character for character in composed if character.isalnum() or character == "@")
