"""What is masked in one source, and how; its digest decides which documents are read again."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass

from rag_pipeline.guardrails.pii.detection import RULES_VERSION, find_patterned
from rag_pipeline.guardrails.pii.kinds import NAMES, Finding
from rag_pipeline.guardrails.pii.watch import Watch, unwatched

EVERY_SOURCE = "*"
FINGERPRINT_LENGTH = 32


@dataclass(frozen=True, slots=True)
class MaskingPolicy:
    """The rules of one source."""

    kinds: frozenset[str]
    """Patterned kinds, and ``PERSON`` and ``LOCATION`` where names are masked."""
    operator: str
    masks_private_addresses: bool = False
    """Also addresses that only mean something inside a network, this machine, or documentation."""

    def find(self, text: str, watch: Watch = unwatched) -> list[Finding]:
        """Patterned personal data of the text, in order."""
        return find_patterned(text, self.kinds, masks_private_addresses=self.masks_private_addresses, watch=watch)

    @property
    def names(self) -> frozenset[str]:
        """Kinds that a model has to find."""
        return self.kinds & frozenset(NAMES)


def policy_fingerprint(policy: MaskingPolicy | None, *, key: bytes, finder: str) -> str:
    """Digest of all that decides how a text of the source comes out; empty where nothing is masked.

    ``finder``: name, version and threshold of the model that finds names. The key is in it as a digest of a fixed text.
    """
    if policy is None or not policy.kinds:
        return ""
    values = {
        "rules": RULES_VERSION,
        "kinds": sorted(policy.kinds),
        "operator": policy.operator,
        "private addresses": policy.masks_private_addresses,
        "names": finder if policy.names else "",
        "key": hmac.new(key, b"rag-pipeline key id", hashlib.sha256).hexdigest()[:16] if key else "",
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:FINGERPRINT_LENGTH]


def masking_of(masking: Mapping[str, str], source: str) -> str:
    """The fingerprint that a spec holds for a source; empty where nothing is masked."""
    return masking.get(source, masking.get(EVERY_SOURCE, ""))
