import errno
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rag_pipeline.adapters.artifact_tables import decode_documents, encode_documents
from rag_pipeline.adapters.parquet_artifacts import DocumentArtifact, ParquetArtifactStore, ParquetVectorArtifact
from rag_pipeline.adapters.parquet_parts import JOINED_FILES, ParquetParts
from rag_pipeline.errors import BackendUnavailableError
from rag_pipeline.schema import DocumentType, Element, ElementKind, ParsedDocument, StoredDocument


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
