"""Ids, digests and fingerprints: what decides whether two things are the same, and so what reruns."""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID, uuid5

from blake3 import blake3

from rag_pipeline.schema import DocumentType, IndexSpec, VectorSpace

POINT_NAMESPACE = UUID("6f1a1d0e-5b0f-5c53-9f6e-2a4a1f0e7c11")
FINGERPRINT_LENGTH = 32
NAME_LENGTH = 8
MASKING_MARK = "#masked:"
_MASKING_PART = re.compile(f"{MASKING_MARK}[0-9a-f]{{{FINGERPRINT_LENGTH}}}$")


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no blanks, UTF-8 kept, NaN refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(value: Any) -> str:
    """Digest of a JSON value: 32 hex digits."""
    return blake3(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()[:FINGERPRINT_LENGTH]


def content_digest(data: bytes) -> str:
    """BLAKE3 of the bytes: 64 hex digits."""
    return blake3(data).hexdigest()


def text_digest(text: str) -> bytes:
    """Key of an embedded text among the vectors of one vector space: 16 bytes."""
    return blake3(text.encode("utf-8", "surrogatepass")).digest(length=16)


def document_id(source: str, path: str) -> str:
    """The id of a document: 32 hex digits of its source's name and its path, so that history leaves no trace in it."""
    return blake3(f"{source}\0{path}".encode("utf-8", "surrogatepass")).hexdigest()[:FINGERPRINT_LENGTH]


def bucket_names(buckets: int) -> list[str]:
    """Names of all buckets in order: lower-case hex of equal width."""
    width = max(2, len(f"{buckets - 1:x}"))
    return [f"{number:0{width}x}" for number in range(buckets)]


def bucket_of(document: str, buckets: int) -> str:
    """The bucket of a document id; equal names are one object, since every record holds one."""
    width = max(2, len(f"{buckets - 1:x}"))
    return sys.intern(f"{int(document[:16], 16) % buckets:0{width}x}")


def point_id(*, source: str, document: str, ordinal: int, digest: str) -> str:
    """UUIDv5 of what a point says and where it stands: equal id, equal payload, text and sparse settings."""
    return str(uuid5(POINT_NAMESPACE, f"{source}\0{document}\0{ordinal}\0{digest}"))


def space_fingerprint(space: VectorSpace) -> str:
    """What never changes within a collection."""
    return fingerprint(asdict(space))


def parse_key(parser: str, suffix: str, masking: str) -> str:
    """What made a stored document: its parser, the suffix of its name (it tells plain texts apart), the masking of its source."""
    return parser + suffix + (MASKING_MARK + masking if masking else "")


def masking_part(key: str) -> str:
    """The part of a parse key that says how personal data was masked; empty where it was not."""
    found = _MASKING_PART.search(key)
    return found[0] if found else ""


def chunking_fingerprint(spec: IndexSpec, document_type: DocumentType) -> str:
    """What decides the chunks of one document type, given its content: parser, rule, tokenizer, prompt."""
    return fingerprint(
        {
            "parsing": spec.parsing[document_type],
            "chunking": dict(spec.chunking[document_type]),
            "tokenizer": spec.tokenizer_sha256,
            "prompt": spec.vector_space.document_prompt,
        }
    )


def parsing_digest(spec: IndexSpec) -> str:
    """Names the artifact of parsed documents: one for all collections whose parsers and masking are the same."""
    return fingerprint({str(kind): value for kind, value in spec.parsing.items()} | _masking_values(spec))


def points_fingerprint(spec: IndexSpec) -> str:
    """What decides a stored point beyond its chunk and vector."""
    return fingerprint({"sparse": spec.sparse_model, "payload": spec.payload_version})


def spec_fingerprint(spec: IndexSpec) -> str:
    """The whole spec."""
    return fingerprint(spec_values(spec))


def spec_values(spec: IndexSpec) -> dict[str, Any]:
    """The spec as JSON values, for a collection's metadata."""
    return {
        "vector_space": asdict(spec.vector_space),
        "tokenizer_sha256": spec.tokenizer_sha256,
        "parsing": {str(kind): value for kind, value in spec.parsing.items()},
        "chunking": {str(kind): dict(rule) for kind, rule in spec.chunking.items()},
        "sparse_model": spec.sparse_model,
        "payload_version": spec.payload_version,
        **_masking_values(spec),
    }


def _masking_values(spec: IndexSpec) -> dict[str, Any]:
    """Nothing where nothing is masked, so that an index without masking keeps the fingerprints that it had."""
    return {"masking": dict(spec.masking)} if spec.masking else {}


def spec_from_values(values: Mapping[str, Any]) -> IndexSpec:
    """The spec that ``spec_values`` wrote."""
    return IndexSpec(
        vector_space=VectorSpace(**values["vector_space"]),
        tokenizer_sha256=values["tokenizer_sha256"],
        parsing={DocumentType(kind): value for kind, value in values["parsing"].items()},
        chunking={DocumentType(kind): rule for kind, rule in values["chunking"].items()},
        sparse_model=values["sparse_model"],
        payload_version=values["payload_version"],
        masking=values.get("masking", {}),
    )


def collection_name(alias: str, space: VectorSpace, number: int) -> str:
    """``docs-7f3a91c2-1``: alias, vector space, number."""
    return f"{alias}-{space_fingerprint(space)[:NAME_LENGTH]}-{number}"


def set_digest(parts: Iterable[str]) -> str:
    """Digest of a set of texts, whatever their order."""
    hasher = blake3()
    for part in sorted(parts):
        hasher.update(part.encode("utf-8", "surrogatepass") + b"\n")
    return hasher.hexdigest()[:FINGERPRINT_LENGTH]
