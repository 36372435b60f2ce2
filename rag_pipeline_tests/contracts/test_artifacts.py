"""The word of the ports of artifacts: in a folder, in memory, on a real S3 server, by the fakes."""

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_pipeline.adapters.parquet_artifacts import ChunkArtifact, DocumentArtifact, ParquetArtifactStore, ParquetVectorArtifact
from rag_pipeline.ports import Artifact, ArtifactStore, Stage, StoredDocuments, VectorArtifact
from rag_pipeline.schema import (
    Chunk,
    ChunkedDocument,
    DocumentType,
    Element,
    ElementKind,
    Matrix,
    ParsedDocument,
    StoredDocument,
)
from rag_pipeline_tests.fakes.artifacts import MemoryArtifact, MemoryArtifactStore, MemoryDocuments, MemoryVectors
from rag_pipeline_tests.object_store import BUCKET

DIMENSION = 8
KINDS = ["local", "memory", pytest.param("s3", marks=pytest.mark.deep), "fake"]


class OnParquet(Protocol):
    def __call__(self, url: str, *, storage_options: Mapping[str, Any] | None = None) -> Any: ...


Opener = Callable[[OnParquet, Callable[[], Any]], Any]


@pytest.fixture(params=KINDS)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    if request.param == "local":
        return lambda real, fake: real(str(tmp_path / "artifact"))
    if request.param == "memory":
        return lambda real, fake: real(f"memory://artifacts-{uuid.uuid4().hex}/stage")
    if request.param == "s3":
        options = request.getfixturevalue("s3_options")
        return lambda real, fake: real(f"s3://{BUCKET}/{uuid.uuid4().hex}/stage", storage_options=options)
    return lambda real, fake: fake()


@pytest.fixture
def documents(opener: Opener) -> StoredDocuments:
    artifact: StoredDocuments = opener(DocumentArtifact, MemoryDocuments)
    return artifact


@pytest.fixture
def chunks(opener: Opener) -> Artifact[ChunkedDocument]:
    artifact: Artifact[ChunkedDocument] = opener(ChunkArtifact, MemoryArtifact)
    return artifact


@pytest.fixture
def vectors(opener: Opener) -> VectorArtifact:
    artifact: VectorArtifact = opener(ParquetVectorArtifact, MemoryVectors)
    return artifact


@pytest.fixture
def store(opener: Opener) -> ArtifactStore:
    opened: ArtifactStore = opener(ParquetArtifactStore, MemoryArtifactStore)
    return opened


def document_of(key: str, text: str = "text") -> StoredDocument:
    elements = (
        Element(ElementKind.TITLE, "Title"),
        Element(ElementKind.TEXT, text, ("Title", "제목"), 3),
        Element(ElementKind.TABLE, "a | b\n1 | 2", ("Title",)),
    )
    parsed = ParsedDocument(
        DocumentType.HTML, "html", "A title", elements, {"author": "é", "list": [1, 2.5, None], "map": {"x": True}}
    )
    return StoredDocument(key, f"hash of {text}", "parser-1", parsed)


def chunked_of(key: str, number: int = 2) -> ChunkedDocument:
    chunks = tuple(
        Chunk(
            index, f"text {index}", "context", index * 10, index * 10 + 6, ElementKind.TEXT, ("Title", "제목"), index or None, 12
        )
        for index in range(number)
    )
    return ChunkedDocument(key, "hash", "chunking-1", DocumentType.PDF, "pdf", "A title", {"subject": "s"}, chunks)


def digest_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


def matrix_of(*numbers: int) -> Matrix:
    return np.array([[number + component / 16 for component in range(DIMENSION)] for number in numbers], dtype=np.float32)


# --- documents ---


def test_what_was_never_written_is_empty(
    documents: StoredDocuments, chunks: Artifact[ChunkedDocument], vectors: VectorArtifact
) -> None:
    assert (documents.read("00"), documents.content_keys("00"), chunks.read("00")) == ([], [], [])
    assert (vectors.digests("00"), vectors.read("00", [digest_of(1)]), vectors.buckets()) == (set(), {}, [])


def test_documents_come_back_exactly(documents: StoredDocuments) -> None:
    rows = [
        document_of("a"),
        document_of("b", "x" * 100_000),
        StoredDocument("c", "h", "p", ParsedDocument(DocumentType.TEXT, "txt", "", ())),
    ]
    documents.append("00", rows)
    assert documents.read("00") == rows
    element = documents.read("00")[0].document.elements[1]
    assert (type(element.heading_path), type(element.kind), element.page) == (tuple, ElementKind, 3)


def test_appended_rows_add_up_and_later_ones_win(documents: StoredDocuments) -> None:
    documents.append("00", [document_of("a", "old"), document_of("b")])
    documents.append("00", [document_of("a", "new")])
    documents.append("00", [])
    assert {row.document_id: row for row in documents.read("00")} == {"a": document_of("a", "new"), "b": document_of("b")}
    assert sorted(documents.content_keys("00")) == [("hash of new", "a"), ("hash of text", "b")]


def test_joined_parts_hold_what_they_held(documents: StoredDocuments) -> None:
    for number in range(20):
        documents.append("00", [document_of(f"{number:02d}", "old"), document_of("last", f"{number}")])
    before = documents.read("00")
    for _ in range(2):
        documents.join("00")
        assert documents.read("00") == before
    documents.append("00", [document_of("last", "newest")])
    assert ("hash of newest", "last") in documents.content_keys("00")
    documents.join("01")
    assert documents.read("01") == []


def test_joined_chunks_come_back_exactly(chunks: Artifact[ChunkedDocument]) -> None:
    for number in range(20):
        chunks.append("00", [chunked_of(f"{number:02d}", number)])
    chunks.join("00")
    assert chunks.read("00") == [chunked_of(f"{number:02d}", number) for number in range(20)]


def test_a_replace_leaves_its_rows_alone(documents: StoredDocuments) -> None:
    documents.append("00", [document_of("a"), document_of("b")])
    documents.replace("00", [document_of("b", "new"), document_of("c")])
    assert sorted(row.document_id for row in documents.read("00")) == ["b", "c"]
    documents.append("00", [document_of("d")])
    documents.replace("00", documents.read("00")[1:])
    assert sorted(row.document_id for row in documents.read("00")) == ["c", "d"]
    documents.replace("00", [])
    assert documents.read("00") == []


def test_buckets_are_apart(documents: StoredDocuments) -> None:
    documents.append("00", [document_of("a")])
    documents.append("0a", [document_of("b")])
    documents.replace("00", [])
    assert [row.document_id for row in documents.read("0a")] == ["b"]


def test_chunks_come_back_exactly(chunks: Artifact[ChunkedDocument]) -> None:
    rows = [chunked_of("a", 3), chunked_of("b", 0), chunked_of("c", 50)]
    chunks.append("00", rows[:1])
    chunks.append("00", rows[1:])
    assert chunks.read("00") == rows
    chunks.replace("00", rows[2:])
    assert chunks.read("00") == rows[2:]


# --- vectors ---


def test_vectors_come_back_exactly(vectors: VectorArtifact) -> None:
    vectors.append("00", [digest_of(1), digest_of(2)], matrix_of(1, 2))
    vectors.append("00", [digest_of(3)], matrix_of(3))
    vectors.append("0b", [digest_of(4)], matrix_of(4))
    assert vectors.digests("00") == {digest_of(1), digest_of(2), digest_of(3)}
    found = vectors.read("00", [digest_of(3), digest_of(1), digest_of(4), digest_of(9)])
    assert set(found) == {digest_of(1), digest_of(3)}
    assert all(found[digest_of(number)].dtype == np.float32 for number in (1, 3))
    np.testing.assert_array_equal(np.stack([found[digest_of(1)], found[digest_of(3)]]), matrix_of(1, 3))
    assert vectors.buckets() == ["00", "0b"]


def test_digests_of_any_bytes_are_kept_apart(vectors: VectorArtifact) -> None:
    digests = [bytes(16), bytes(15) + b"\x01", b"\xff" * 16, b"\x00\xff" * 8]
    vectors.append("00", digests, matrix_of(1, 2, 3, 4))
    assert vectors.digests("00") == set(digests)
    np.testing.assert_array_equal(vectors.read("00", [digests[2]])[digests[2]], matrix_of(3)[0])


def test_retaining_compacts_to_what_is_wanted_and_held(vectors: VectorArtifact) -> None:
    for number in range(5):
        vectors.append("00", [digest_of(number)], matrix_of(number))
    vectors.retain("00", {digest_of(1), digest_of(3), digest_of(77)})
    assert vectors.digests("00") == {digest_of(1), digest_of(3)}
    np.testing.assert_array_equal(vectors.read("00", [digest_of(3)])[digest_of(3)], matrix_of(3)[0])
    vectors.retain("00", set())
    assert (vectors.digests("00"), vectors.buckets()) == (set(), [])
    vectors.append("00", [digest_of(8)], matrix_of(8))
    assert vectors.buckets() == ["00"]


def test_nothing_appended_is_nothing_written(vectors: VectorArtifact) -> None:
    vectors.append("00", [], np.zeros((0, DIMENSION), dtype=np.float32))
    assert vectors.buckets() == []


# --- all of them ---

STAGES: tuple[Stage, ...] = ("documents", "chunks", "embeddings")


def fill(store: ArtifactStore, name: str) -> None:
    store.documents(name).append("00", [document_of("a")])
    store.chunks(name).append("00", [chunked_of("a")])
    store.vectors(name).append("00", [digest_of(1)], matrix_of(1))
    store.vectors(name).append("0a", [digest_of(2)], matrix_of(2))


def held(store: ArtifactStore, name: str) -> tuple[int, int, int]:
    vectors = store.vectors(name)
    return (
        len(store.documents(name).read("00")),
        len(store.chunks(name).read("00")),
        sum(len(vectors.digests(bucket)) for bucket in vectors.buckets()),
    )


def test_an_empty_store_has_no_artifacts(store: ArtifactStore) -> None:
    for stage in STAGES:
        assert store.names(stage) == []
        store.drop(stage, "never-made")
    assert held(store, "docs-7f3a91c2-1") == (0, 0, 0)
    assert [store.names(stage) for stage in STAGES] == [[], [], []]


def test_artifacts_are_found_by_stage_and_name(store: ArtifactStore) -> None:
    fill(store, "docs-7f3a91c2-2")
    store.chunks("docs-7f3a91c2-1").append("0f", [chunked_of("b")])
    assert store.names("chunks") == ["docs-7f3a91c2-1", "docs-7f3a91c2-2"]
    assert store.names("documents") == store.names("embeddings") == ["docs-7f3a91c2-2"]
    assert store.documents("docs-7f3a91c2-2").read("00") == [document_of("a")]
    assert store.chunks("docs-7f3a91c2-1").read("00") == []


def test_one_name_is_one_object(store: ArtifactStore) -> None:
    assert store.documents("a") is store.documents("a")
    assert store.chunks("a") is store.chunks("a")
    assert store.vectors("a") is store.vectors("a")
    assert store.documents("a") is not store.documents("b")


def test_dropping_takes_one_artifact_whole_and_leaves_the_others(store: ArtifactStore) -> None:
    for name in ("a", "a-1", "b"):
        fill(store, name)
    store.drop("embeddings", "a")
    assert held(store, "a") == (1, 1, 0)
    assert [store.names(stage) for stage in STAGES] == [["a", "a-1", "b"], ["a", "a-1", "b"], ["a-1", "b"]]
    for stage in STAGES:
        store.drop(stage, "a")
        store.drop(stage, "a")
    assert (held(store, "a"), held(store, "a-1"), held(store, "b")) == ((0, 0, 0), (1, 1, 2), (1, 1, 2))


def test_a_dropped_artifact_can_be_written_again(store: ArtifactStore) -> None:
    vectors = store.vectors("a")
    fill(store, "a")
    for stage in STAGES:
        store.drop(stage, "a")
    fill(store, "a")
    assert held(store, "a") == (1, 1, 2)
    assert vectors.digests("00") == {digest_of(1)}
    vectors.retain("00", set())
    vectors.retain("0a", {digest_of(2)})
    assert vectors.buckets() == ["0a"]
    assert store.names("embeddings") == ["a"]


# --- any rows, any order of writes ---

TEXTS = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
ELEMENTS = st.builds(
    Element,
    kind=st.sampled_from(ElementKind),
    text=TEXTS,
    heading_path=st.lists(TEXTS, max_size=3).map(tuple),
    page=st.none() | st.integers(1, 9999),
)
DOCUMENTS = st.builds(
    StoredDocument,
    document_id=st.sampled_from("abcdef"),
    content_hash=TEXTS,
    parser_fingerprint=TEXTS,
    document=st.builds(
        ParsedDocument,
        type=st.sampled_from(DocumentType),
        format=TEXTS,
        title=TEXTS,
        elements=st.lists(ELEMENTS, max_size=4).map(tuple),
        metadata=st.dictionaries(TEXTS, JSON, max_size=3),
    ),
)
WRITES = st.lists(st.tuples(st.sampled_from(["append", "replace"]), st.lists(DOCUMENTS, max_size=4)), max_size=6)


@pytest.mark.parametrize("opener", ["local", "memory", "fake"], indirect=True)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=WRITES)
def test_any_writes_read_as_one_dictionary(opener: Opener, writes: list[tuple[str, list[StoredDocument]]]) -> None:
    artifact, bucket, expected = opener(DocumentArtifact, MemoryDocuments), uuid.uuid4().hex, {}
    for kind, rows in writes:
        if kind == "replace":
            artifact.replace(bucket, rows)
            expected = {}
        else:
            artifact.append(bucket, rows)
        expected.update({row.document_id: row for row in rows})
    assert {row.document_id: row for row in artifact.read(bucket)} == expected
    assert {(row.content_hash, row.document_id) for row in expected.values()} == set(artifact.content_keys(bucket))
