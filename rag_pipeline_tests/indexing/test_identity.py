"""Ids and fingerprints: the same for ever, different where they must be."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from rag_pipeline.indexing.identity import (
    bucket_names,
    bucket_of,
    canonical_json,
    chunking_fingerprint,
    collection_name,
    document_id,
    point_id,
    set_digest,
    space_fingerprint,
    spec_fingerprint,
    spec_from_values,
    spec_values,
)
from rag_pipeline.schema import DocumentType, IndexSpec, VectorSpace

SPACE = VectorSpace(
    model="m",
    weights_sha256="w",
    dimension=4,
    distance="cosine",
    is_normalized=True,
    document_prompt="",
    query_prompt="",
    max_tokens=512,
)
SPEC = IndexSpec(
    vector_space=SPACE,
    tokenizer_sha256="t",
    parsing={kind: "p" for kind in DocumentType},
    chunking={kind: {"size": 512} for kind in DocumentType},
    sparse_model="bm25",
    payload_version=1,
)


def test_ids_never_change() -> None:
    assert document_id("handbook", "a/b.md") == "504d5f183b614f82f6b33ad09679474f"
    assert point_id(source="s", document="d", ordinal=0, digest="x") == "2e5249f8-ea57-5a77-9c9d-ed88eff21bf0"


@given(st.text(), st.text(), st.text(), st.text())
def test_documents_differ_by_source_and_path(source: str, path: str, other_source: str, other_path: str) -> None:
    is_same = (source, path) == (other_source, other_path)
    if "\0" not in source + other_source:
        assert (document_id(source, path) == document_id(other_source, other_path)) == is_same


@given(st.integers(1, 4096), st.text())
def test_every_document_has_one_of_the_buckets(buckets: int, path: str) -> None:
    assert bucket_of(document_id("s", path), buckets) in set(bucket_names(buckets))


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\n")), unique=True), st.randoms())
def test_set_digest_ignores_order(parts: list[str], random: object) -> None:
    shuffled = list(parts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert set_digest(parts) == set_digest(shuffled)
    assert set_digest([*parts, "one more\n"]) != set_digest(parts)


def test_json_is_canonical() -> None:
    assert canonical_json({"b": 1, "a": "한"}) == '{"a":"한","b":1}'


def test_collection_is_named_by_its_vector_space() -> None:
    assert collection_name("docs", SPACE, 1) == f"docs-{space_fingerprint(SPACE)[:8]}-1"
    assert collection_name("docs", replace(SPACE, weights_sha256="other"), 1) != collection_name("docs", SPACE, 1)


def test_one_rule_changes_the_chunks_of_its_type_only() -> None:
    changed = replace(SPEC, chunking={**SPEC.chunking, DocumentType.HTML: {"size": 1024}})
    touched = [kind for kind in DocumentType if chunking_fingerprint(SPEC, kind) != chunking_fingerprint(changed, kind)]
    assert touched == [DocumentType.HTML]
    assert space_fingerprint(changed.vector_space) == space_fingerprint(SPEC.vector_space)
    assert spec_fingerprint(changed) != spec_fingerprint(SPEC)


def test_spec_survives_its_json() -> None:
    assert spec_from_values(spec_values(SPEC)) == SPEC
