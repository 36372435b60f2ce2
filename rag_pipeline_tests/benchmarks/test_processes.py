"""Processes that are timed, fail, and are killed."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.suite.processes import run
from benchmarks.suite.rounds import ContestantFailedError


def python(code: str, folder: Path, **options: float) -> object:
    return run([sys.executable, "-c", code], folder=folder, **options)  # type: ignore[arg-type]


def test_a_process_answers_with_output_time_and_memory(tmp_path: Path) -> None:
    done = run([sys.executable, "-c", "print(input() * 2)"], folder=tmp_path, text="ab").checked()
    assert done.output == "abab\n"
    assert done.wall_s > 0
    assert done.cpu_s > 0
    assert done.peak_mib > 1


def test_the_last_line_of_the_errors_is_the_reason(tmp_path: Path) -> None:
    done = run([sys.executable, "-c", "raise ValueError('no such store')"], folder=tmp_path)
    with pytest.raises(ContestantFailedError, match="ValueError: no such store"):
        done.checked()


def test_a_process_is_killed_with_its_children(tmp_path: Path) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    done = run([sys.executable, "-c", code], folder=tmp_path, kill_after_s=0.5)
    assert done.code == -9
    assert done.wall_s < 30


def test_who_is_stopped_leaves_no_process(tmp_path: Path) -> None:
    script = (
        "import signal, sys; from pathlib import Path; from benchmarks.suite.processes import run\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))\n"
        "run([sys.executable, '-c', 'import os, time; open(\"child\", \"w\").write(str(os.getpid())); time.sleep(60)'],"
        f" folder=Path({str(tmp_path)!r}))"
    )
    suite = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2])
    while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
        time.sleep(0.05)
    suite.terminate()
    assert suite.wait(30) == 1
    child = Path("/proc") / (tmp_path / "child").read_text()
    assert not child.exists() or "Z" in (child / "stat").read_text().split()[2]
