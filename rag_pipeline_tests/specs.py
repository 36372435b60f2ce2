"""Specifications of indexes, for tests of the rules over them."""

from dataclasses import replace
from typing import Any

from rag_pipeline.indexing.identity import collection_name, space_fingerprint, spec_values
from rag_pipeline.schema import CollectionRecord, CollectionState, DocumentType, IndexSpec, VectorSpace

SPEC = IndexSpec(
    vector_space=VectorSpace(
        model="small",
        weights_sha256="weights",
        dimension=8,
        distance="cosine",
        is_normalized=True,
        document_prompt="",
        query_prompt="",
        max_tokens=512,
    ),
    tokenizer_sha256="tokenizer",
    parsing=dict.fromkeys(DocumentType, "parser"),
    chunking={kind: {"size": 512} for kind in DocumentType},
    sparse_model="bm25",
    payload_version=1,
)


def in_space(**changes: Any) -> IndexSpec:
    """The spec in another vector space."""
    return replace(SPEC, vector_space=replace(SPEC.vector_space, **changes))


def record_of(
    spec: IndexSpec, *, number: int = 1, state: CollectionState = CollectionState.LIVE, alias: str = "docs"
) -> CollectionRecord:
    """A collection that holds a spec."""
    space = spec.vector_space
    return CollectionRecord(collection_name(alias, space, number), alias, space_fingerprint(space), state, spec_values(spec))
