"""Runs that race on one state: nothing is lost, nothing is there twice, and who was overtaken writes nothing more."""

import multiprocessing
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from rag_pipeline.adapters import edge_lock, writer_locks
from rag_pipeline.errors import ReleaseBlockedError, StaleWriterError
from rag_pipeline.indexing.release import switch
from rag_pipeline.operations import reindex as reindexing
from rag_pipeline.operations.follow import bring_in_step
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.operations.reindex import reindex
from rag_pipeline.operations.release import release, roll_back
from rag_pipeline.project import Project
from rag_pipeline.schema import BucketState
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.projects import article, fill, index_once, open_project, write_settings
from rag_pipeline_tests.round_trip.histories import (
    BASE,
    LENIENT,
    FreshBuilds,
    Specs,
    assert_rest,
    points_of,
    quick_gate,
    read_files,
    share_model,
)

NAMES = ["one.md", "two.txt", "a/three.md", "b/four.txt"]
TEXTS = [article(topic, length) for topic in ("apples", "pears") for length in (1, 3)]
MODELS: list[dict[str, Any]] = [{}, {"document_prompt": "passage: "}, {"dimension": 128}]
BUILDS = FreshBuilds(dict.fromkeys(NAMES, TEXTS))
WORKS: dict[str, Callable[[Project], Any]] = {
    "index": index_once,
    "reindex": lambda project: reindex(project, project.buckets, force=True, progress=SILENT),
    "release": lambda project: release(project, approve=True, by="race", progress=SILENT),
    "roll_back": lambda project: roll_back(project, reason="race", by="race", progress=SILENT),
}
RACES_OF_ONE_STATE = 10
POLL_S = 0.01
Orders = Sequence[Sequence[str]]
"""For each runner the names of its works, in order."""


@contextmanager
def impatient() -> Iterator[None]:
    """Short races: who waits looks often, and the gate asks little."""
    with quick_gate(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer_locks, "_POLL_S", POLL_S)
        patch.setattr(edge_lock, "POLL_S", POLL_S)
        patch.setattr(reindexing, "TURN_S", POLL_S)
        yield


def run_all(project: Project, works: Sequence[str]) -> None:
    for work in works:
        try:
            WORKS[work](project)
        except ReleaseBlockedError as error:  # nothing to go back to, not built yet: as the others left it
            if "fsck" in str(error):
                raise


def open_runner(file: Path, **parts: Any) -> Project:
    project = open_project(file, parser=FakeParser(), **parts)
    share_model(project)
    return project


def race_threads(file: Path, orders: Orders) -> None:
    """Each runner with a ledger of its own; the embedded store lets in one process, which they are."""
    keeper = open_runner(file)
    barrier, failures = threading.Barrier(len(orders)), []

    def runner(works: Sequence[str]) -> None:
        try:
            project = open_runner(file, store=keeper.store)
            barrier.wait()
            run_all(project, works)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    threads = [threading.Thread(target=runner, args=(works,)) for works in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    keeper.close()
    assert not any(thread.is_alive() for thread in threads), "a runner hangs"
    if failures:
        raise failures[0]


def serve(connection: Connection, barrier: Barrier) -> None:
    """A process that runs what it is told, as soon as the others are ready."""
    with impatient():
        while (order := connection.recv()) is not None:
            file, works = order
            barrier.wait(timeout=60)
            project = open_runner(file)
            try:
                run_all(project, works)
                answer = ""
            except Exception as error:  # noqa: BLE001 - told to the test
                answer = f"{type(error).__name__}: {error}"
            finally:
                project.close()
            connection.send(answer)


@contextmanager
def racing_processes(number: int) -> Iterator[Callable[[Path, Orders], None]]:
    """Races between that many processes, which stay alive from race to race."""
    context = multiprocessing.get_context("spawn")
    barrier, pipes = context.Barrier(number), [context.Pipe() for _ in range(number)]
    processes = [context.Process(target=serve, args=(theirs, barrier), daemon=True) for _, theirs in pipes]
    for process in processes:
        process.start()

    def race(file: Path, orders: Orders) -> None:
        for (ours, _), works in zip(pipes, orders, strict=True):
            ours.send((file, works))
        for ours, _ in pipes:
            assert ours.poll(120), "a runner hangs"
            answer = ours.recv()
            assert not answer, answer

    try:
        yield race
    finally:
        for ours, _ in pipes:
            ours.send(None)
        for process in processes:
            process.join(timeout=30)


def change_something(docs: Path, dice: random.Random) -> None:
    for name in dice.sample(NAMES, 2):
        if dice.random() < 0.25 and len(read_files(docs)) > 1:
            (docs / name).unlink(missing_ok=True)
        else:
            fill(docs, {name: dice.choice(TEXTS)})


def orders_by(dice: random.Random, runners: int) -> Orders:
    return [dice.choices(list(WORKS), weights=[3, 3, 3, 1], k=2) for _ in range(runners)]


def run_races(folder: Path, seed: int, number: int, runners: int, race: Callable[[Path, Orders], None]) -> None:
    """One state, raced on again and again; after each race it equals a fresh build."""
    dice, specs = random.Random(seed), Specs(BUILDS)
    for _ in range(number):
        changes = {"embedding": dice.choice(MODELS), "release": LENIENT}
        file = write_settings(folder, **{**BASE, **changes})
        change_something(folder / "docs", dice)
        race(file, orders_by(dice, runners))
        project = open_runner(file)
        specs.note(project.spec, changes)
        index_once(project)
        assert_rest(project, specs, read_files(folder / "docs"))
        project.close()


def run_thread_races(folder: Path, seed: int, number: int) -> None:
    with impatient():
        run_races(folder, seed, number, 2 + seed % 2, race_threads)


def test_threads_that_race_lose_nothing(tmp_path: Path) -> None:
    run_thread_races(tmp_path, 0, 4)


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(14))
def test_threads_that_race_often_lose_nothing(tmp_path: Path, seed: int) -> None:
    run_thread_races(tmp_path, seed, RACES_OF_ONE_STATE)


@pytest.mark.deep
def test_processes_that_race_lose_nothing(tmp_path: Path) -> None:
    with impatient(), racing_processes(3) as race:
        for seed in range(6):
            run_races(tmp_path / str(seed), seed, RACES_OF_ONE_STATE, 3, race)


def test_who_waits_for_the_writer_lock_lets_go_of_the_store(tmp_path: Path) -> None:
    file = write_settings(tmp_path, **BASE, store={"kind": "edge", "lock_wait_s": 10})
    fill(tmp_path / "docs", {NAMES[0]: TEXTS[0]})
    waiting, writing = open_runner(file), open_runner(file)
    index_once(waiting)  # and keeps the store open
    with impatient(), writing.writer_lock():
        thread = threading.Thread(target=index_once, args=(waiting,))
        thread.start()
        assert writing.store.count(writing.target.name) > 0
        writing.store.close()
    thread.join(timeout=30)
    assert not thread.is_alive()
    waiting.close()


# --- who was overtaken ----------------------------------------------------------------------------------------------


@pytest.fixture
def overtaken(tmp_path: Path) -> Iterator[Project]:
    """A writer that paused with the lock in its hand, while its lock file vanished and another one wrote and released."""
    changes = {**BASE, "release": LENIENT}
    file = write_settings(tmp_path, **changes)
    fill(tmp_path / "docs", dict.fromkeys(NAMES, TEXTS[0]))
    old = open_runner(file)
    index_once(old)
    with quick_gate(), old.writer_lock():
        (old.local_state / "writer.lock").unlink()
        fill(tmp_path / "docs", {NAMES[0]: TEXTS[3]})
        new = open_runner(write_settings(tmp_path, **changes, embedding=MODELS[1]), store=old.store)
        reindex(new, new.buckets, progress=SILENT)
        release(new, approve=True, by="test", progress=SILENT)
        yield old
    old.close()


def test_an_overtaken_writer_writes_nothing_to_the_ledger(overtaken: Project) -> None:
    state = BucketState(digest="", points=0, generation=0, seen=0, quarantined=0)
    record = overtaken.collections().target
    for write in (
        lambda: overtaken.ledger.put_bucket_state(record.name, "00", state),
        lambda: overtaken.ledger.put_collection(record),
        lambda: overtaken.ledger.add_decision("switch", {}),
        lambda: overtaken.scan(approve_deletes=False, progress=SILENT),
    ):
        with pytest.raises(StaleWriterError, match="lost the writer lock"):
            write()


def test_an_overtaken_writer_writes_nothing_to_the_store(overtaken: Project) -> None:
    live = overtaken.collections().target
    before = points_of(overtaken, live.name)
    fill(overtaken.settings.root / "docs", {NAMES[1]: TEXTS[2]})
    parts = overtaken.parts(live)
    documents, chunks = parts.build().load("00")
    chunks.rows.clear()
    with pytest.raises(StaleWriterError, match="lost the writer lock"):
        parts.reconcile().update(chunks, SILENT)
    with pytest.raises(StaleWriterError, match="lost the writer lock"):
        bring_in_step(overtaken, overtaken.buckets, compare_all=True, progress=SILENT)
    assert points_of(overtaken, live.name).keys() == before.keys()
    assert documents.records


def test_an_overtaken_writer_switches_nothing(overtaken: Project) -> None:
    chosen = overtaken.collections()
    assert chosen.live is not None
    former = chosen.retired[0] if chosen.retired else chosen.candidate
    assert former is not None
    with pytest.raises(StaleWriterError, match="lost the writer lock"):
        switch(overtaken.ledger, overtaken.store, record=former, kind="switch", content={})
    assert overtaken.store.resolve_alias("docs") == chosen.live.name
