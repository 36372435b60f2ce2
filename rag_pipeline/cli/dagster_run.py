"""Runs the ``index`` job in this process, recorded where the web UI finds it."""

import logging
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from rag_pipeline.cli.progress import BarProgress
from rag_pipeline.errors import RagPipelineError
from rag_pipeline.project import Project


class RunFailedError(RagPipelineError):
    """The job failed; the message is the cause."""


def run_index(
    project: Project, *, approve_deletes: bool, compare_all: bool
) -> tuple[str, Mapping[str, Mapping[str, Any]], str | None]:
    """Run id, parts of the report, and why the run failed (None when it did not)."""
    _ensure_home(project)
    _quieten()
    import dagster as dg

    from rag_pipeline.defs.inventory import make_definitions
    from rag_pipeline.defs.jobs import INDEX_JOB

    with BarProgress() as progress, dg.DagsterInstance.get() as instance:
        job = make_definitions(project, show=progress).resolve_job_def(INDEX_JOB)
        result = job.execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_config={
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                "ops": {
                    "source_manifest": {"config": {"approve_deletes": approve_deletes}},
                    "index_buckets": {"config": {"compare_all": compare_all}},
                },
            },
        )
    cause = None if result.success else _cause(result)
    return result.run_id, project.ledger.report(result.run_id), cause


def dagster_home(project: Project) -> Path:
    """Where Dagster keeps its runs: ``DAGSTER_HOME``, else beside the state."""
    return Path(os.environ.get("DAGSTER_HOME") or project.local_state / "dagster")


def serve_ui(project: Project, *, config: str | None, port: int) -> int:
    """The exit code of ``dagster dev`` over the same records as the runs of this command."""
    _ensure_home(project)
    if config is not None:
        os.environ["RAG_CONFIG"] = str(Path(config).resolve())
    address = ["--host", "127.0.0.1", "--port", str(port)]
    return subprocess.call([sys.executable, "-m", "dagster", "dev", "-m", "rag_pipeline.definitions", *address])  # noqa: S603


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


def _cause(result: Any) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            failure = data.user_failure_data
            if failure is not None and failure.description:
                return str(failure.description)
            error = data.error
            while error is not None and error.cause is not None:
                error = error.cause
            if error is not None:
                return str(error.message).strip()
    return "the run failed; see it in the web UI"
