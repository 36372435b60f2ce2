"""Commands in processes of their own: wall seconds, processor seconds of the whole family, peak memory."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.suite.rounds import ContestantFailedError

LIMIT_S = 3600.0
ERROR_LETTERS = 300


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that has ended."""

    wall_s: float
    cpu_s: float
    """Of the process and all children that it waited for."""
    peak_mib: int
    code: int
    output: str
    errors: str

    def checked(self) -> "Finished":
        """Itself. Raises ContestantFailedError with the last line of its errors unless it ended well."""
        if self.code:
            lines = [line for line in self.errors.splitlines() if line.strip()] or [f"exit code {self.code}"]
            raise ContestantFailedError(lines[-1][:ERROR_LETTERS])
        return self


def run(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    text: str = "",
    kill_after_s: float | None = None,
) -> Finished:
    """Runs a command to its end; ``kill_after_s`` ends it and its children with -9 before."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        given.write(text.encode())
        given.seek(0)
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **(environment or {})}, stdin=given, stdout=output, stderr=errors,
            start_new_session=True,
        )  # fmt: skip
        try:
            code, peak_kib, cpu_s = _wait(process.pid, started + (kill_after_s or LIMIT_S))
        except BaseException:  # who stops the suite stops what it started
            os.killpg(process.pid, signal.SIGKILL)
            raise
        wall_s = time.perf_counter() - started
        process.returncode = code
        output.seek(0)
        errors.seek(0)
        return Finished(wall_s, cpu_s, peak_kib // 1024, code, output.read().decode(), errors.read().decode(errors="replace"))


def _wait(process: int, ends: float) -> tuple[int, int, float]:
    """Exit code, peak KiB and processor seconds; the group is killed at its end."""
    while True:
        done, status, usage = os.wait4(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), usage.ru_maxrss, usage.ru_utime + usage.ru_stime
        if time.perf_counter() > ends:
            os.killpg(process, signal.SIGKILL)
            _, status, usage = os.wait4(process, 0)
            return os.waitstatus_to_exitcode(status), usage.ru_maxrss, usage.ru_utime + usage.ru_stime
        time.sleep(0.005)
