"""What starts by the clock."""

from typing import Any

import dagster as dg

from rag_pipeline.project import Project


def make_schedules(project: Project, job: Any) -> list[dg.ScheduleDefinition]:
    """The nightly full reconcile."""
    return [
        dg.ScheduleDefinition(
            name="nightly_index",
            job=job,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            cron_schedule=project.settings.schedule.nightly,
            run_config={"ops": {"index_buckets": {"config": {"compare_all": True}}}},
            description="Compares every bucket with the store, whatever the ledger says; repairs what was lost outside.",
        )
    ]
