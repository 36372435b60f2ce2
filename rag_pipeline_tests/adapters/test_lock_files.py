"""Lock files that cannot be taken for another reason than another holder: told in a line, and nothing stays held."""

import os
from pathlib import Path

import pytest
from filelock import FileLock

from rag_pipeline.adapters.edge_lock import EdgeLock
from rag_pipeline.adapters.writer_locks import locked_file
from rag_pipeline.errors import BackendUnavailableError


def refuse(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_a_store_of_another_user_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileLock, "acquire", refuse)
    lock = EdgeLock(tmp_path / "store", wait_s=0, on_wait=print)
    with pytest.raises(BackendUnavailableError, match=r"cannot be locked \(Permission denied\); free space, or see"):
        lock.acquire()
    assert not lock.is_held


def test_a_writer_lock_of_another_user_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileLock, "acquire", refuse)
    with (
        pytest.raises(BackendUnavailableError, match=r"writer.lock cannot be used \(Permission denied\)"),
        locked_file(tmp_path / "writer.lock", wait_s=0, on_wait=print),
    ):
        pass


def test_a_full_disk_costs_the_name_of_the_holder_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_text", full)
    lock = EdgeLock(tmp_path / "store", wait_s=0, on_wait=print)
    lock.acquire()
    lock.release()
    assert not lock.is_held
    with locked_file(tmp_path / "writer.lock", wait_s=0, on_wait=print):
        pass
    with locked_file(tmp_path / "writer.lock", wait_s=0, on_wait=print):
        pass
