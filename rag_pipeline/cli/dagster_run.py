"""Runs a job in this process, recorded where the web UI finds it."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from rag_pipeline.cli.progress import BarProgress
from rag_pipeline.errors import RagPipelineError
from rag_pipeline.indexing.reports import build_values
from rag_pipeline.operations.look import is_in_step, report_in_step
from rag_pipeline.project import Project


class RunFailedError(RagPipelineError):
    """The job failed; the message is the cause."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What became of a run in this process."""

    run_id: str
    parts: Mapping[str, Mapping[str, Any]]
    """The report that the run left in the ledger."""
    cause: str | None
    """Why it failed; None when it did not."""


def run_index(project: Project, *, approve_deletes: bool, compare_all: bool) -> RunResult:
    """One run of the job ``index``, or of ``look`` where there is nothing to do and nobody asks for more.

    A source that changes between the two looks has both.
    """
    if not (approve_deletes or compare_all) and _is_in_step(project):
        looked = run_job(project, "look", {})
        if not looked.parts.get("scan", {}).get("has_changes"):
            parts = {**looked.parts, "build": build_values(report_in_step(project))}
            return replace(looked, parts=parts)
    ops = {
        "source_manifest": {"config": {"approve_deletes": approve_deletes}},
        "index_buckets": {"config": {"compare_all": compare_all}},
    }
    return run_job(project, "index", ops)


def _is_in_step(project: Project) -> bool:
    """A store that is not needed again is let go, so that the run waits for its turn without it."""
    try:
        return is_in_step(project)
    finally:
        project.close()


def run_job(
    project: Project,
    name: str,
    ops: Mapping[str, Any],
    *,
    assets: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
) -> RunResult:
    """One run of a job in this process, with a bar for each stage; of these assets alone where some are named."""
    _ensure_home(project)
    _quieten()
    import dagster as dg

    from rag_pipeline.defs.failures import cause_of
    from rag_pipeline.defs.inventory import make_definitions

    with BarProgress() as progress, dg.DagsterInstance.get() as instance:
        job = make_definitions(project, show=progress).resolve_job_def(name)
        result = job.execute_in_process(
            instance=instance,
            raise_on_error=False,
            asset_selection=[dg.AssetKey(asset) for asset in assets] or None,
            tags=dict(tags or {}),
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}, "ops": dict(ops)},
        )
    failures = (event for event in result.all_events if event.is_step_failure)
    cause = None if result.success else cause_of(failures) or "the run failed; see it in the web UI"
    return RunResult(result.run_id, project.ledger.report(result.run_id), cause)


def dagster_home(project: Project) -> Path:
    """Where Dagster keeps its runs: ``DAGSTER_HOME``, else beside the state."""
    return Path(os.environ.get("DAGSTER_HOME") or project.local_state / "dagster")


def serve_ui(project: Project, *, config: str | None, port: int) -> int:
    """The exit code of ``dagster dev`` over the same records as the runs of this command."""
    _ensure_home(project)
    if config is not None:
        os.environ["RAG_CONFIG"] = str(Path(config).resolve())
    address = ["--host", "127.0.0.1", "--port", str(port)]
    # In a session of its own, so that a signal to this group does not hit the server's parts in a random order.
    command = [sys.executable, "-m", "dagster", "dev", "-m", "rag_pipeline.definitions", *address]
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background job would hand on that it is ignored
    server = subprocess.Popen(command, start_new_session=True)  # noqa: S603
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.send_signal(signal.SIGINT))  # it ends its parts only when interrupted
    return server.wait()


def _ensure_home(project: Project) -> None:
    home = dagster_home(project)
    home.mkdir(parents=True, exist_ok=True)
    settings = home / "dagster.yaml"
    if not settings.exists():
        with resources.as_file(resources.files("rag_pipeline") / "dagster.yaml") as packaged:
            shutil.copyfile(packaged, settings)
    os.environ["DAGSTER_HOME"] = str(home)


def _quieten() -> None:
    """Dagster's own notices are not for the users of this command."""
    warnings.filterwarnings("ignore", module="dagster")
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
