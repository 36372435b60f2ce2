import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from rag_pipeline.adapters import folder_watcher
from rag_pipeline.adapters.folder_watcher import FolderWatcher

SOON_S = 5.0
SETTLED_S = 0.8


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("text")
    return tmp_path


@pytest.fixture
def watcher(root: Path) -> Iterator[FolderWatcher]:
    watcher = FolderWatcher([root])
    watcher.start()
    assert watcher.changed()
    yield watcher
    watcher.stop()


def becomes_true(question: Callable[[], bool], within_s: float = SOON_S) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if question():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "new.txt").write_text("new"),
        lambda root: (root / "folder" / "a.txt").write_text("edited"),
        lambda root: (root / "folder" / "a.txt").unlink(),
        lambda root: (root / "folder" / "a.txt").rename(root / "b.txt"),
        lambda root: (root / "folder").rename(root / "moved"),
        lambda root: (root / "deep" / "deeper").mkdir(parents=True),
        lambda root: os.utime(root / "folder" / "a.txt", (1, 1)),
    ],
)
def test_a_change_is_noticed(watcher: FolderWatcher, root: Path, change: Callable[[Path], Any]) -> None:
    change(root)
    assert becomes_true(watcher.changed)


def test_a_change_is_told_once(watcher: FolderWatcher, root: Path) -> None:
    (root / "new.txt").write_text("new")
    time.sleep(SETTLED_S)
    assert (watcher.changed(), watcher.changed()) == (True, False)


def test_reading_is_no_change(watcher: FolderWatcher, root: Path) -> None:
    (root / "folder" / "a.txt").read_text()
    list(root.rglob("*"))
    time.sleep(SETTLED_S)
    assert not watcher.changed()


def test_files_in_folders_made_at_speed_are_noticed(watcher: FolderWatcher, root: Path) -> None:
    for number in range(50):
        folder = root / f"{number}" / "x" / "y"
        folder.mkdir(parents=True)
        (folder / "a.txt").write_text("text")
    assert becomes_true(watcher.changed)


def test_nothing_known_is_a_possible_change(root: Path) -> None:
    watcher = FolderWatcher([root])
    assert (watcher.changed(), watcher.changed()) == (True, True)
    watcher.start()
    assert (watcher.changed(), watcher.changed()) == (True, False)
    watcher.stop()
    assert (watcher.changed(), watcher.changed()) == (True, True)
    watcher.start()
    assert (watcher.changed(), watcher.changed()) == (True, False)
    watcher.stop()


def test_a_folder_that_is_missing_is_a_warning_and_never_quiet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watcher = FolderWatcher([tmp_path / "missing"])
    with caplog.at_level(logging.WARNING):
        watcher.start()
    assert (watcher.changed(), watcher.changed(), watcher.is_watching) == (True, True, False)
    assert "cannot be watched" in caplog.text
    watcher.stop()


def test_no_watches_left_is_a_warning_and_never_quiet(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: BaseObserver, *arguments: object, **named: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(Observer, "schedule", refuse)
    watcher = FolderWatcher([root])
    with caplog.at_level(logging.WARNING):
        watcher.start()
    assert (watcher.changed(), watcher.changed()) == (True, True)
    assert "watch limit" in caplog.text
    watcher.stop()


def test_a_slow_start_does_not_hold_up_the_caller(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Observer.schedule

    def dawdle(self: BaseObserver, *arguments: Any, **named: Any) -> Any:
        time.sleep(0.5)
        return real(self, *arguments, **named)

    monkeypatch.setattr(folder_watcher, "START_WAIT_S", 0.05)
    monkeypatch.setattr(Observer, "schedule", dawdle)
    watcher = FolderWatcher([root])
    started = time.monotonic()
    watcher.start()
    assert time.monotonic() - started < 0.4
    assert watcher.changed()
    assert becomes_true(lambda: watcher.is_watching)
    watcher.stop()


def test_a_root_that_goes_away_is_never_quiet_again(watcher: FolderWatcher, root: Path) -> None:
    shutil.rmtree(root)
    assert becomes_true(watcher.changed)
    time.sleep(SETTLED_S)
    watcher.changed()
    assert becomes_true(watcher.changed)


def test_polling_notices_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_watcher, "_POLL_S", 0.1)
    watcher = FolderWatcher([root], polling=True)
    watcher.start()
    assert watcher.changed()
    (root / "new.txt").write_text("new")
    assert becomes_true(watcher.changed)
    watcher.stop()
