"""Everything that Dagster gets to see of one index."""

import dagster as dg

from rag_pipeline.defs.assets import make_assets
from rag_pipeline.defs.care_jobs import make_erase_job, make_fsck_job, make_retention_job, make_rollback_job
from rag_pipeline.defs.checks import make_checks
from rag_pipeline.defs.jobs import make_freshness_job, make_index_job, make_look_job, make_reindex_job, make_release_job
from rag_pipeline.defs.release_assets import make_gate
from rag_pipeline.defs.release_sensors import make_release_sensors
from rag_pipeline.defs.schedules import make_schedules
from rag_pipeline.defs.sensors import make_sensors
from rag_pipeline.ports import Progress
from rag_pipeline.project import Project


def make_definitions(project: Project, *, show: Progress | None = None) -> dg.Definitions:
    """The definitions of one index; ``show`` gets the progress of runs in this process instead of their logs."""
    jobs = [
        make_index_job(project),
        make_look_job(project),
        make_reindex_job(project),
        make_release_job(project),
        make_rollback_job(project, show),
        make_fsck_job(project, show),
        make_retention_job(project),
        make_erase_job(project),
        make_freshness_job(),
    ]
    by_name = {job.name: job for job in jobs}
    return dg.Definitions(
        assets=make_assets(project, show=show),
        asset_checks=[*make_checks(project), make_gate(project, show)],
        jobs=jobs,
        schedules=make_schedules(project, by_name),
        sensors=[*make_sensors(project, by_name["index"]), *make_release_sensors(project, by_name)],
        executor=dg.in_process_executor,
    )
