"""What starts by the clock."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from rag_pipeline.defs.care_jobs import FSCK_JOB, RETENTION_JOB
from rag_pipeline.defs.jobs import FRESHNESS_JOB, INDEX_JOB
from rag_pipeline.project import Project

COMPARE_ALL = {"ops": {"index_buckets": {"config": {"compare_all": True}}}}


def make_schedules(project: Project, jobs: Mapping[str, Any]) -> list[dg.ScheduleDefinition]:
    """The nightly full reconcile and check, retention, and the look at the index's age."""
    times = project.settings.schedule
    compares = "Compares every bucket with the store, whatever the ledger says; repairs what was lost outside."
    reads = "Reads every stored point of the live collection and compares it with the artifacts."
    return [
        _schedule("nightly_index", jobs[INDEX_JOB], times.nightly, compares, COMPARE_ALL),
        _schedule("nightly_fsck", jobs[FSCK_JOB], times.fsck, reads),
        _schedule("hourly_retention", jobs[RETENTION_JOB], times.retention, "Drops collections whose grace time is over."),
        _schedule("hourly_freshness", jobs[FRESHNESS_JOB], times.freshness, "Notices when nothing follows the sources any more."),
    ]


def _schedule(name: str, job: Any, cron: str, text: str, run_config: dict[str, Any] | None = None) -> dg.ScheduleDefinition:
    """A schedule that runs as soon as a daemon does."""
    return dg.ScheduleDefinition(
        name=name,
        job=job,
        cron_schedule=cron,
        run_config=run_config,
        description=text,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
