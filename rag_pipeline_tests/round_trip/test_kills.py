"""kill -9 at named places of a first build and of an incremental run; the next run completes it and loses nothing."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.projects import article, check, dump, fill, fresh_dump, open_project, write_settings
from rag_pipeline_tests.round_trip.dying_run import KILLED, Kill, ask, read_log, run

BATCH_TOKENS = 256
"""Small batches, so that there are many; one of them may be lost."""
MOMENTS = ("before", "after")
BUILD = ("document_artifact.append", "vector_artifact.append", "store.upsert", "ledger.put_bucket_state")
FIRST_BUILD = [
    *(Kill(place, 3, moment) for place in BUILD for moment in MOMENTS),
    *(Kill(place, 1, moment) for place in ("store.create_collection", "store.switch_alias") for moment in MOMENTS),
    Kill("chunk_artifact.append", 2, "after"),
    Kill("ledger.commit_scan"),
    Kill("ledger.commit_scan", moment="after"),
    Kill("store.optimize", moment="after"),
]
INCREMENTAL = [
    *(Kill(place, 2, moment) for place in (*BUILD, "store.delete") for moment in MOMENTS),
    Kill("chunk_artifact.append", 2, "after"),
    Kill("ledger.commit_scan", moment="after"),
    Kill("document_artifact.replace"),
    Kill("vector_artifact.retain"),
]
EVERYDAY = Kill("store.upsert", 2, "after")
deep = pytest.mark.deep


def prepare(tmp_path: Path) -> tuple[Path, Path]:
    file = write_settings(tmp_path, embedding={"batch_tokens": BATCH_TOKENS}, delete_brake={"max_documents": 1000})
    fill(tmp_path / "docs", {f"topic{i}.md": article(f"topic{i}", 4) for i in range(20)})
    return file, tmp_path / "embedded.log"


def change(docs: Path) -> None:
    for i in range(4):
        fill(docs, {f"topic{i}.md": article(f"edited topic{i}", 5)})
        (docs / f"topic{i + 4}.md").rename(docs / f"renamed{i}.md")
        (docs / f"topic{i + 8}.md").unlink()


def assert_complete(file: Path, tmp_path: Path, log: Path, *, deaths: int = 1, at_once: int = 1) -> None:
    project = open_project(file, parser=FakeParser())
    try:
        assert check(project).findings == []
        assert dump(project) == fresh_dump(project, tmp_path / "fresh", parser=FakeParser())
    finally:
        project.close()
    twice, batch = read_log(log)
    assert twice <= deaths * at_once * batch


def survive(tmp_path: Path, kill: Kill) -> None:
    file, log = prepare(tmp_path)
    assert run(file, log) == 0
    log.unlink()
    change(tmp_path / "docs")
    assert run(file, log, kill) == KILLED
    assert ask(file, "Part 2 of topic15")[1] >= {"docs/topic15.md"}
    assert run(file, log) == 0
    assert_complete(file, tmp_path, log)


@deep
@pytest.mark.parametrize("kill", FIRST_BUILD, ids=str)
@pytest.mark.parametrize("at_once", [1, 3])
def test_first_build_survives_a_kill(tmp_path: Path, kill: Kill, at_once: int) -> None:
    file, log = prepare(tmp_path)
    assert run(file, log, kill, at_once=at_once) == KILLED
    assert run(file, log, at_once=at_once) == 0
    assert_complete(file, tmp_path, log, at_once=at_once)


@deep
@pytest.mark.parametrize("kill", INCREMENTAL, ids=str)
def test_incremental_run_survives_a_kill(tmp_path: Path, kill: Kill) -> None:
    survive(tmp_path, kill)


def test_a_killed_run_loses_nothing(tmp_path: Path) -> None:
    survive(tmp_path, EVERYDAY)


@deep
def test_kill_after_kill_still_converges(tmp_path: Path) -> None:
    file, log = prepare(tmp_path)
    for call, place in enumerate(BUILD * 2, 1):
        run(file, log, Kill(place, call, "after" if call % 2 else "before"))
    assert run(file, log) == 0
    assert_complete(file, tmp_path, log, deaths=2 * len(BUILD))


@deep
def test_parsing_children_end_with_the_killed_run(tmp_path: Path) -> None:
    file, log = prepare(tmp_path)
    call = f"work(Path({str(file)!r}), Path({str(log)!r}), Kill('store.upsert'), 'index', has_real_parser=True)"
    command = f"from pathlib import Path; from rag_pipeline_tests.round_trip.dying_run import Kill, work; {call}"
    with subprocess.Popen([sys.executable, "-c", command]) as process:
        seen: set[psutil.Process] = set()
        while process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                seen |= set(psutil.Process(process.pid).children(recursive=True))
            time.sleep(0.02)
    assert process.returncode == KILLED
    assert seen, "no parsing child was seen"
    _, left = psutil.wait_procs(seen, timeout=5)
    assert left == []
