import errno
import logging
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.exceptions import FSTimeoutError

from rag_pipeline.adapters.artifact_tables import decode_documents, encode_documents
from rag_pipeline.adapters.parquet_artifacts import DocumentArtifact, ParquetArtifactStore, ParquetVectorArtifact
from rag_pipeline.adapters.parquet_parts import JOINED_FILES, ParquetParts
from rag_pipeline.errors import BackendUnavailableError
from rag_pipeline.schema import DocumentType, Element, ElementKind, ParsedDocument, StoredDocument

DIGESTS = [bytes([number]) * 16 for number in range(3)]


def row_of(key: str, text: str = "text") -> StoredDocument:
    element = Element(ElementKind.TEXT, text, ("Heading",), 1)
    return StoredDocument(
        key, f"hash of {text}", "parser", ParsedDocument(DocumentType.TEXT, "txt", "title", (element,), {"n": 1})
    )


def keys(artifact: DocumentArtifact) -> list[str]:
    return sorted(row.document_id for row in artifact.read("00"))


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in (folder / "00").iterdir())


@pytest.fixture
def artifact(tmp_path: Path) -> DocumentArtifact:
    return DocumentArtifact(str(tmp_path))


def test_any_reader_of_parquet_sees_the_columns(artifact: DocumentArtifact, tmp_path: Path) -> None:
    artifact.append("00", [row_of("a")])
    (row,) = pq.read_table(tmp_path / "00").to_pylist()
    assert row["document_id"] == "a"
    assert row["elements"] == [{"kind": "text", "text": "text", "heading_path": ["Heading"], "page": 1}]
    assert row["metadata"] == '{"n": 1}'


def test_files_are_compressed_with_zstd(artifact: DocumentArtifact, tmp_path: Path) -> None:
    artifact.append("00", [row_of("a")])
    column = pq.ParquetFile(tmp_path / "00" / files(tmp_path)[0]).metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"


def test_many_parts_become_one_file_with_the_same_rows(artifact: DocumentArtifact, tmp_path: Path) -> None:
    for number in range(JOINED_FILES):
        artifact.append("00", [row_of(f"{number:02d}")])
    artifact.join("00")
    assert len(files(tmp_path)) == JOINED_FILES
    artifact.append("00", [row_of("last")])
    before = artifact.read("00")
    artifact.join("00")
    assert (len(files(tmp_path)), artifact.read("00")) == (1, before)


def test_parts_of_another_version_or_damaged_ones_are_not_joined(artifact: DocumentArtifact, tmp_path: Path) -> None:
    for number in range(JOINED_FILES):
        artifact.append("00", [row_of(f"{number:02d}")])
    older = encode_documents([row_of("older")]).drop_columns(["subjects"])
    ParquetParts(str(tmp_path)).append("00", older)
    artifact.join("00")
    assert len(files(tmp_path)) == JOINED_FILES + 1
    assert len(keys(artifact)) == JOINED_FILES + 1
    for file in (tmp_path / "00").iterdir():
        file.write_bytes(b"no parquet")
    artifact.join("00")
    assert keys(artifact) == []


def test_a_crash_between_the_new_base_and_the_removal_of_the_old_files_is_harmless(
    artifact: DocumentArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact.append("00", [row_of("a"), row_of("b")])
    artifact.append("00", [row_of("c")])

    def crash(self: ParquetParts, paths: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ParquetParts, "_remove", crash)
        with pytest.raises(KeyboardInterrupt):
            artifact.replace("00", [row_of("b", "new")])
    assert len(files(tmp_path)) == 3
    reopened = DocumentArtifact(str(tmp_path))
    assert reopened.read("00") == [row_of("b", "new")]
    reopened.append("00", [row_of("d")])
    assert keys(reopened) == ["b", "d"]
    reopened.replace("00", reopened.read("00"))
    assert keys(reopened) == ["b", "d"]
    assert len(files(tmp_path)) == 1


def test_a_crash_while_a_file_is_written_leaves_no_file_under_its_name(
    artifact: DocumentArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact.append("00", [row_of("a")])

    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(BackendUnavailableError, match="free space"):
            artifact.append("00", [row_of("b")])
    assert len(files(tmp_path)) == 1
    assert keys(artifact) == ["a"]


def test_what_a_killed_writer_left_beside_is_ignored(artifact: DocumentArtifact, tmp_path: Path) -> None:
    artifact.append("00", [row_of("a")])
    (tmp_path / "00" / ".000000000009-base.parquet.tmp").write_bytes(b"half")
    (tmp_path / "00" / "notes.parquet").write_bytes(b"foreign")
    assert keys(artifact) == ["a"]
    artifact.append("00", [row_of("b")])
    assert keys(artifact) == ["a", "b"]


@pytest.mark.parametrize("damage", ["truncated", "empty", "zeros", "flipped"])
def test_a_damaged_file_is_left_out_with_a_warning(
    artifact: DocumentArtifact, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    artifact.append("00", [row_of("a", "x" * 5_000)])
    artifact.append("00", [row_of("b")])
    file = tmp_path / "00" / files(tmp_path)[0]
    data = file.read_bytes()
    middle = len(data) // 2
    file.write_bytes(
        {
            "truncated": data[:middle],
            "empty": b"",
            "zeros": bytes(len(data)),
            "flipped": data[:4] + bytes(byte ^ 0xFF for byte in data[4:-8]) + data[-8:],
        }[damage]
    )
    with caplog.at_level(logging.WARNING):
        assert keys(artifact) == ["b"]
    assert "damaged" in caplog.text
    artifact.replace("00", [*artifact.read("00"), row_of("a")])
    assert keys(artifact) == ["a", "b"]


def test_vectors_that_cannot_be_read_are_not_claimed_for_ever(tmp_path: Path) -> None:
    artifact = ParquetVectorArtifact(str(tmp_path))
    digests = [bytes([number]) * 16 for number in range(2)]
    for digest in digests:
        artifact.append("00", [digest], np.random.default_rng(1).random((1, 4096), dtype=np.float32))
    file = tmp_path / "00" / files(tmp_path)[0]
    offset = pq.ParquetFile(file).metadata.row_group(0).column(1).data_page_offset
    data = file.read_bytes()
    file.write_bytes(data[: offset + 60] + bytes(64) + data[offset + 124 :])
    assert artifact.digests("00") == set(digests), "the column of digests is whole"
    assert set(artifact.read("00", digests)) == {digests[1]}
    assert artifact.digests("00") == {digests[1]}, "so the first is embedded again"


REMOTE_ERRORS = [
    FSTimeoutError("timed out"),
    PermissionError("Access Denied"),
    OSError("Forbidden: no errno, as of some object stores"),
    OSError(errno.EIO, "input/output error"),
]


@pytest.fixture
def remote() -> Iterator[ParquetVectorArtifact]:
    """Three vectors, a file each, on a file system that is no local disk."""
    url = f"memory://artifacts-{uuid.uuid4().hex}"
    artifact = ParquetVectorArtifact(url)
    for digest in DIGESTS:
        artifact.append("00", [digest], np.ones((1, 4), np.float32))
    yield artifact
    artifact._parts._system[0].rm(artifact._parts._root, recursive=True)


@pytest.mark.parametrize("error", REMOTE_ERRORS, ids=lambda error: type(error).__name__)
def test_a_remote_file_that_cannot_be_fetched_is_not_taken_for_damaged(
    remote: ParquetVectorArtifact, error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(remote._parts._system[0], "open", fail)
        patch.setattr(remote._parts._system[0], "cat_file", fail)
        with pytest.raises(BackendUnavailableError):
            remote.digests("00")
        with pytest.raises(BackendUnavailableError):
            remote.retain("00", set(DIGESTS))
    assert remote.digests("00") == set(DIGESTS)


def test_a_remote_reader_that_a_replace_overtakes_reads_the_new_rows(
    remote: ParquetVectorArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Object stores tell a missing key by an error without a number."""
    real, turns = ParquetParts._read, [lambda: ParquetVectorArtifact(remote._parts._url).retain("00", set(DIGESTS))]

    def overtaken(self: ParquetParts, path: str, columns: Any) -> Any:
        if turns:
            turns.pop()()
        return real(self, path, columns)

    def without_number(*_: object, **__: object) -> None:
        raise FileNotFoundError("The specified key does not exist.")

    monkeypatch.setattr(ParquetParts, "_read", overtaken)
    system = remote._parts._system[0]
    opened = system.open
    monkeypatch.setattr(
        system, "open", lambda path, *given, **named: opened(path, *given, **named) if system.exists(path) else without_number()
    )
    assert set(remote.read("00", DIGESTS)) == set(DIGESTS)


def test_a_damaged_remote_file_is_left_out(remote: ParquetVectorArtifact, caplog: pytest.LogCaptureFixture) -> None:
    system = remote._parts._system[0]
    system.pipe_file(sorted(system.ls(f"{remote._parts._root}/00", detail=False))[0], b"PAR1 no more PAR1")
    assert remote.digests("00") == set(DIGESTS[1:])
    assert "damaged" in caplog.text


def test_a_reader_that_a_replace_overtakes_reads_the_new_rows(
    artifact: DocumentArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact.append("00", [row_of("old")])
    real, turns = ParquetParts._read, [lambda: DocumentArtifact(str(tmp_path)).replace("00", [row_of("new")])]

    def overtaken(self: ParquetParts, path: str, columns: Any) -> Any:
        if turns:
            turns.pop()()
        return real(self, path, columns)

    monkeypatch.setattr(ParquetParts, "_read", overtaken)
    assert keys(artifact) == ["new"]


def test_a_disk_that_fails_is_no_empty_artifact(artifact: DocumentArtifact, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact.append("00", [row_of("a")])

    def fail(path: object, **named: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(pq, "ParquetFile", fail)
    with pytest.raises(BackendUnavailableError, match="Permission denied"):
        artifact.read("00")


def test_halves_of_surrogate_pairs_do_not_stop_a_write(artifact: DocumentArtifact) -> None:
    artifact.append("00", [row_of("a", "broken \ud800 text, whole \ud83d\ude00")])
    assert artifact.read("00")[0].document.elements[0].text == "broken \ufffd text, whole 😀"


def test_digests_are_read_without_any_vector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = ParquetVectorArtifact(str(tmp_path))
    vectors.append("00", [bytes(16)], np.zeros((1, 4), dtype=np.float32))
    asked: list[object] = []
    real = pq.ParquetFile.read

    def read(self: Any, columns: Any = None) -> pa.Table:
        asked.append(columns)
        return real(self, columns)

    monkeypatch.setattr(pq.ParquetFile, "read", read)
    assert vectors.digests("00") == {bytes(16)}
    assert asked == [["digest"]]


def test_retaining_what_is_there_rewrites_nothing(tmp_path: Path) -> None:
    vectors = ParquetVectorArtifact(str(tmp_path))
    vectors.append("00", [bytes(16)], np.zeros((1, 4), dtype=np.float32))
    before = files(tmp_path)
    vectors.retain("00", {bytes(16), b"x" * 16})
    assert files(tmp_path) == before


def test_digests_and_vectors_must_be_as_many(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 digests for 2 vectors"):
        ParquetVectorArtifact(str(tmp_path)).append("00", [bytes(16)], np.zeros((2, 4), dtype=np.float32))


def test_a_table_of_no_rows_has_the_columns_of_many() -> None:
    assert encode_documents([]).schema == encode_documents([row_of("a")]).schema


def test_a_part_of_a_table_decodes_to_its_rows() -> None:
    rows = [row_of(key, key * 3) for key in "abcd"]
    assert decode_documents(encode_documents(rows).slice(1, 2)) == rows[1:3]


def test_a_store_keeps_a_folder_for_every_stage_and_name(tmp_path: Path) -> None:
    store = ParquetArtifactStore(f"{tmp_path}/")
    store.documents("a").append("00", [row_of("a")])
    store.vectors("b").append("0f", [bytes(16)], np.zeros((1, 4), dtype=np.float32))
    assert sorted(str(folder.relative_to(tmp_path)) for folder in tmp_path.glob("*/*/*")) == ["documents/a/00", "embeddings/b/0f"]
    store.drop("documents", "a")
    assert not (tmp_path / "documents" / "a").exists()


def test_what_is_no_artifact_is_not_named(tmp_path: Path) -> None:
    store = ParquetArtifactStore(str(tmp_path))
    DocumentArtifact(str(tmp_path / "documents")).append("00", [row_of("of an older version")])
    (tmp_path / "documents" / "empty").mkdir()
    (tmp_path / "documents" / "note.txt").write_text("a note")
    (tmp_path / "documents" / ".hidden" / "00").mkdir(parents=True)
    assert store.names("documents") == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../embeddings", "a b"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    store = ParquetArtifactStore(str(tmp_path))
    for act in (store.documents, store.chunks, store.vectors, lambda name: store.drop("documents", name)):
        with pytest.raises(ValueError, match="no name"):
            act(name)


def test_a_folder_that_cannot_be_removed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ParquetArtifactStore(str(tmp_path))
    store.documents("a").append("00", [row_of("a")])

    def refuse(*arguments: object, **settings: object) -> None:
        raise PermissionError(errno.EACCES, "not yours")

    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.rm", refuse)
    with pytest.raises(BackendUnavailableError, match="run again"):
        store.drop("documents", "a")
