"""What starts by the clock."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from rag_pipeline.defs.care_jobs import FSCK_JOB, RETENTION_JOB
from rag_pipeline.defs.jobs import FRESHNESS_JOB, INDEX_JOB
from rag_pipeline.project import Project

RUNNING = dg.DefaultScheduleStatus.RUNNING


def make_schedules(project: Project, jobs: Mapping[str, Any]) -> list[dg.ScheduleDefinition]:
    """The nightly full reconcile and check, retention, and the look at the index's age."""
    times = project.settings.schedule
    return [
        dg.ScheduleDefinition(
            name="nightly_index",
            job=jobs[INDEX_JOB],
            default_status=RUNNING,
            cron_schedule=times.nightly,
            run_config={"ops": {"index_buckets": {"config": {"compare_all": True}}}},
            description="Compares every bucket with the store, whatever the ledger says; repairs what was lost outside.",
        ),
        dg.ScheduleDefinition(
            name="nightly_fsck",
            job=jobs[FSCK_JOB],
            default_status=RUNNING,
            cron_schedule=times.fsck,
            description="Reads every stored point of the live collection and compares it with the artifacts.",
        ),
        dg.ScheduleDefinition(
            name="hourly_retention",
            job=jobs[RETENTION_JOB],
            default_status=RUNNING,
            cron_schedule=times.retention,
            description="Drops collections whose grace time is over.",
        ),
        dg.ScheduleDefinition(
            name="hourly_freshness",
            job=jobs[FRESHNESS_JOB],
            default_status=RUNNING,
            cron_schedule=times.freshness,
            description="Notices when nothing follows the sources any more.",
        ),
    ]
