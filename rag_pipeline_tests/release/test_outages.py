"""What cannot be seen is not gone; and what nobody was told of is found all the same."""

import errno
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from rag_pipeline.adapters import folder_watcher, local_folder
from rag_pipeline.defs.inventory import make_definitions
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.operations.reindex import reindex
from rag_pipeline.operations.release import release
from rag_pipeline.project import Project
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.projects import check, dump, fill, fresh_dump, index_once, uris
from rag_pipeline_tests.release.flows import (
    ask_for_new_model,
    build_candidate,
    closing,
    copy_of,
    live_name,
    make_live,
    open_quick,
    story,
)

DOCUMENTS = 20
BRAKE = {"max_documents": 4, "max_share": 0.2}
FOLDERS = ("", "north/", "north/deep/", "south/")

Outage = Callable[[Path, pytest.MonkeyPatch], AbstractContextManager[None]]


def place(number: int) -> str:
    """Where a document lies: several folders, so that a listing has a middle."""
    return f"{FOLDERS[number % len(FOLDERS)]}report{number}.md"


@contextmanager
def root_is_missing(docs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    aside = docs.with_name("aside")
    docs.rename(aside)
    yield
    aside.rename(docs)


@contextmanager
def root_is_empty(docs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The folder of a mount whose disk is away."""
    with root_is_missing(docs, monkeypatch):
        docs.mkdir()
        yield
        docs.rmdir()


@contextmanager
def root_is_a_file(docs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with root_is_missing(docs, monkeypatch):
        docs.write_text("no folder")
        yield
        docs.unlink()


@contextmanager
def root_is_unreadable(docs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with failing_listing(monkeypatch, folder="", code=errno.EACCES):
        yield


@contextmanager
def folder_fails(docs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The disk gives up in a folder below."""
    with failing_listing(monkeypatch, folder="south", code=errno.EIO):
        yield


@contextmanager
def listing_breaks_off(docs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Half of the root's entries come, then an error."""
    with failing_listing(monkeypatch, folder="", code=errno.EIO, after=2):
        yield


@contextmanager
def half_is_gone(docs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A listing without an error that shows only half: one of two disks is away."""
    aside = docs.with_name("aside")
    aside.mkdir()
    for name in ("north", "south"):
        (docs / name).rename(aside / name)
    yield
    for name in ("north", "south"):
        (aside / name).rename(docs / name)


@contextmanager
def failing_listing(monkeypatch: pytest.MonkeyPatch, *, folder: str, code: int, after: int = 0) -> Iterator[None]:
    """Listing this folder below ``docs`` fails, after so many entries."""
    real = os.scandir

    def scandir(path: Any) -> Any:
        is_hit = str(path).rstrip("/").endswith(f"docs/{folder}".rstrip("/"))
        return BreakingScan(real(path), after=after, code=code) if is_hit else real(path)

    with monkeypatch.context() as patch:
        patch.setattr(local_folder.os, "scandir", scandir)
        yield


class BreakingScan:
    """Entries of a folder until the disk fails."""

    def __init__(self, inner: Any, *, after: int, code: int) -> None:
        self._inner, self._left, self._code = inner, after, code

    def __enter__(self) -> "BreakingScan":
        return self

    def __exit__(self, *_: object) -> None:
        self._inner.close()

    def __iter__(self) -> "BreakingScan":
        return self

    def __next__(self) -> Any:
        if not self._left:
            raise OSError(self._code, os.strerror(self._code))
        self._left -= 1
        return next(self._inner)


OUTAGES: dict[Outage, str] = {
    root_is_missing: "cannot list",
    root_is_empty: "approve",
    root_is_a_file: "cannot list",
    root_is_unreadable: "cannot list",
    folder_fails: "cannot list",
    listing_breaks_off: "cannot list",
    half_is_gone: "approve",
}
"""Each outage with what the run has to say."""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("live")
    fill(folder / "docs", {place(number): story(number, sections=2) for number in range(DOCUMENTS)})
    yield make_live(folder, documents=0, delete_brake=BRAKE)
    shutil.rmtree(folder)


@pytest.fixture
def project(live: Path, tmp_path: Path) -> Iterator[Project]:
    with closing(open_quick(copy_of(live, tmp_path / "copy"))) as project:
        yield project


@pytest.fixture
def switching(live: Path, tmp_path: Path) -> Iterator[Project]:
    """The same, asked for a new model."""
    file = ask_for_new_model(copy_of(live, tmp_path / "copy").parent, delete_brake=BRAKE)
    with closing(open_quick(file)) as project:
        yield project


def docs_of(project: Project) -> Path:
    return project.settings.root / "docs"


def stored(project: Project, collection: str) -> dict[str, Any]:
    return {point.id: point.payload for point in project.store.scroll(collection)}


def all_uris() -> set[str]:
    return {f"docs/{place(number)}" for number in range(DOCUMENTS)}


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.__name__)
def test_index_run_keeps_what_it_cannot_see(project: Project, outage: Outage, monkeypatch: pytest.MonkeyPatch) -> None:
    before = dump(project)
    with outage(docs_of(project), monkeypatch):
        scan, report = index_once(project)
        assert any(OUTAGES[outage] in problem for problem in scan.problems)
        assert report.deleted == 0
        assert dump(project) == before
        assert len(project.ledger.documents()) == DOCUMENTS
    scan, report = index_once(project)
    assert not scan.problems
    assert (report.embedded, report.upserted, report.deleted) == (0, 0, 0)
    assert dump(project) == before
    assert check(project).findings == []


def reindex_in_outage(switching: Project, outage: Outage, monkeypatch: pytest.MonkeyPatch) -> None:
    live = live_name(switching)
    before = stored(switching, live)
    with outage(docs_of(switching), monkeypatch):
        outcome = reindex(switching, switching.buckets, progress=SILENT)
        assert any(OUTAGES[outage] in problem for problem in outcome.problems)
        assert stored(switching, live) == before
        assert len(switching.ledger.documents()) == DOCUMENTS
    assert live_name(switching) == live


def release_after_outage(switching: Project) -> None:
    live = live_name(switching)
    before = stored(switching, live)
    candidate = build_candidate(switching)
    assert release(switching, approve=False, by="test", progress=SILENT).collection == candidate.name
    assert uris(stored(switching, candidate.name).values()) == all_uris()
    assert stored(switching, live) == before
    assert check(switching).findings == []


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.__name__)
def test_reindex_keeps_what_it_cannot_see(switching: Project, outage: Outage, monkeypatch: pytest.MonkeyPatch) -> None:
    reindex_in_outage(switching, outage, monkeypatch)


@pytest.mark.deep
@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.__name__)
def test_release_after_an_outage_is_whole(switching: Project, outage: Outage, monkeypatch: pytest.MonkeyPatch) -> None:
    reindex_in_outage(switching, outage, monkeypatch)
    release_after_outage(switching)


def delete_most(docs: Path) -> set[str]:
    """Six in ten documents go for good; what is left."""
    for number in range(DOCUMENTS * 6 // 10):
        (docs / place(number)).unlink()
    return {f"docs/{place(number)}" for number in range(DOCUMENTS * 6 // 10, DOCUMENTS)}


def test_true_deletion_waits_for_an_approval(project: Project) -> None:
    left = delete_most(docs_of(project))
    scan, _ = index_once(project)
    assert any("--approve-deletes" in problem for problem in scan.problems)
    assert uris(dump(project).values()) == all_uris()
    scan, report = index_once(project, approve_deletes=True)
    assert not scan.problems
    assert report.deleted > 0
    assert uris(dump(project).values()) == left
    assert check(project).findings == []


def test_true_deletion_reaches_live_and_candidate(switching: Project) -> None:
    left = delete_most(docs_of(switching))
    outcome = reindex(switching, switching.buckets, progress=SILENT)
    assert any("--approve-deletes" in problem for problem in outcome.problems)
    live = live_name(switching)
    assert uris(stored(switching, live).values()) == all_uris()
    index_once(switching, approve_deletes=True)
    assert uris(stored(switching, live).values()) == left
    assert release(switching, approve=False, by="test", progress=SILENT).is_switched
    assert uris(stored(switching, live_name(switching)).values()) == left
    assert check(switching).findings == []


# --- events that nobody saw -----------------------------------------------------------------------------------------


def change_something(docs: Path, chooser: random.Random, turn: int) -> None:
    """One to four edits, new documents, renames, deletions, also of the same size and time."""
    for step in range(chooser.randint(1, 4)):
        files = sorted(docs.rglob("*.md"))
        victim = chooser.choice(files)
        act = chooser.choice(["edit", "add", "rename", "delete", "sly"])
        if act == "edit":
            victim.write_text(story(turn * 10 + step, version=turn + 2))
        elif act == "sly":
            write_unseen(victim)
        elif act == "rename":
            victim.rename(victim.with_name(f"renamed{turn}-{step}.md"))
        elif act == "delete" and len(files) > DOCUMENTS // 2:
            victim.unlink()
        else:
            fill(docs, {f"{chooser.choice(FOLDERS)}added{turn}-{step}.md": story(500 + turn * 10 + step, sections=1)})


def write_unseen(file: Path) -> None:
    """An edit that leaves size and modification time as they were."""
    stat, text = file.stat(), file.read_text()
    file.write_text(text.replace("meets", "greet", 1) if "meets" in text else text.replace("greet", "meets", 1))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def asked_runs(instance: dg.DagsterInstance, definitions: dg.Definitions, cursor: str | None) -> tuple[int, str]:
    """How many runs a tick of the sensor asks for, and its new cursor."""
    sensor = definitions.resolve_sensor_def("source_changes")
    context = dg.build_sensor_context(instance=instance, cursor=cursor, definitions=definitions)
    data = sensor.evaluate_tick(context)
    return len(data.run_requests or []), data.cursor or cursor or "{}"


def reconcile_after_lost_events(project: Project, folder: Path, rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_watcher._Listener, "dispatch", lambda listener, event: None)
    definitions, chooser = make_definitions(project), random.Random(20)
    with dg.instance_for_test() as instance:
        _, cursor = asked_runs(instance, definitions, None)
        for turn in range(rounds):
            change_something(docs_of(project), chooser, turn)
            runs, cursor = asked_runs(instance, definitions, cursor)
            assert runs == 0  # the sensor is blind
            scan, _ = index_once(project, approve_deletes=True)
            assert scan.has_changes
            assert dump(project) == fresh_dump(project, folder, parser=FakeParser())
            assert check(project).findings == []
            shutil.rmtree(folder)
        change_something(docs_of(project), chooser, rounds)
        late = json.dumps({**json.loads(cursor), "looked_s": 0})
        assert asked_runs(instance, definitions, late)[0] == 1  # and looks for itself after a while


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Project]:
    folder = tmp_path / "whole"
    fill(folder / "docs", {place(number): story(number, sections=2) for number in range(DOCUMENTS)})
    with closing(open_quick(make_live(folder, documents=0))) as project:
        yield project


def test_one_reconcile_finds_what_no_event_told(whole: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reconcile_after_lost_events(whole, tmp_path / "fresh", 3, monkeypatch)


@pytest.mark.deep
def test_reconciles_find_what_no_event_told(whole: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reconcile_after_lost_events(whole, tmp_path / "fresh", 20, monkeypatch)
