"""Everything that Dagster gets to see of one index."""

import dagster as dg

from rag_pipeline.defs.assets import make_assets
from rag_pipeline.defs.checks import make_checks
from rag_pipeline.defs.jobs import make_index_job
from rag_pipeline.defs.schedules import make_schedules
from rag_pipeline.defs.sensors import make_sensors
from rag_pipeline.ports import Progress
from rag_pipeline.project import Project


def make_definitions(project: Project, *, show: Progress | None = None) -> dg.Definitions:
    """The definitions of one index; ``show`` gets the progress of runs in this process instead of their logs."""
    index = make_index_job(project)
    return dg.Definitions(
        assets=make_assets(project, show=show),
        asset_checks=make_checks(project),
        jobs=[index],
        schedules=make_schedules(project, index),
        sensors=make_sensors(project, index),
        executor=dg.in_process_executor,
    )
