"""kill -9 at named places of a first build and of an incremental run; the next run completes it and loses nothing."""

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from rag_pipeline_tests.projects import article, check, dump, fill, fresh_dump, open_project, write_settings
from rag_pipeline_tests.round_trip.dying_run import PLACES

pytestmark = pytest.mark.deep
BATCH_TOKENS = 256
"""Small batches, so that there are many; one of them may be lost."""
TEXTS_IN_FLIGHT = 16


def run(file: Path, log: Path, place: str = "nowhere", *, call: int = 1, moment: str = "before") -> int:
    command = [sys.executable, "-m", "rag_pipeline_tests.round_trip.dying_run", str(file), place, str(call), moment, str(log)]
    return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode


def prepare(tmp_path: Path) -> tuple[Path, Path]:
    file = write_settings(tmp_path, embedding={"batch_tokens": BATCH_TOKENS}, delete_brake={"max_documents": 1000})
    fill(tmp_path / "docs", {f"topic{i}.md": article(f"topic{i}", 4) for i in range(20)})
    return file, tmp_path / "embedded.log"


def change(docs: Path) -> None:
    for i in range(4):
        fill(docs, {f"topic{i}.md": article(f"edited topic{i}", 5)})
        (docs / f"topic{i + 4}.md").rename(docs / f"renamed{i}.md")
        (docs / f"topic{i + 8}.md").unlink()


def assert_complete(file: Path, tmp_path: Path, log: Path) -> None:
    project = open_project(file)
    try:
        assert check(project).findings == []
        assert dump(project) == fresh_dump(project, tmp_path / "fresh")
    finally:
        project.close()
    twice = sum(count - 1 for count in Counter(log.read_text().splitlines()).values())
    assert twice <= TEXTS_IN_FLIGHT


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("place", [place for place in PLACES if place != "store.delete"])
def test_first_build_survives_a_kill(tmp_path: Path, place: str, moment: str) -> None:
    file, log = prepare(tmp_path)
    call = 1 if place == "store.switch_alias" else 3
    assert run(file, log, place, call=call, moment=moment) == -signal.SIGKILL
    assert run(file, log) == 0
    assert_complete(file, tmp_path, log)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("place", [place for place in PLACES if place != "store.switch_alias"])
def test_incremental_run_survives_a_kill(tmp_path: Path, place: str, moment: str) -> None:
    file, log = prepare(tmp_path)
    assert run(file, log) == 0
    log.write_text("")
    change(tmp_path / "docs")
    assert run(file, log, place, call=2, moment=moment) == -signal.SIGKILL
    assert run(file, log) == 0
    assert_complete(file, tmp_path, log)


def test_kill_after_kill_still_converges(tmp_path: Path) -> None:
    file, log = prepare(tmp_path)
    for call, place in enumerate(PLACES[:4] * 2, 1):
        run(file, log, place, call=call, moment="after" if call % 2 else "before")
    assert run(file, log) == 0
    assert_complete(file, tmp_path, log)


def test_parsing_children_end_with_the_killed_run(tmp_path: Path) -> None:
    file, log = prepare(tmp_path)
    run(file, log, "store.upsert", call=1)
    for _ in range(50):
        left = subprocess.run(["pgrep", "-f", str(file)], capture_output=True, text=True, check=False).stdout.split()
        if not left:
            break
        time.sleep(0.1)
    assert left == []
