"""What runs together."""

from typing import Any

import dagster as dg
from dagster import AssetSelection

from rag_pipeline.project import Project

INDEX_JOB = "index"
COLLECTION_TAG = "rag_pipeline/collection"
"""One run per value at a time (dagster.yaml)."""


def make_index_job(project: Project) -> Any:
    """The job ``index``: scan, bring every bucket in step, go live, check. In one process, over all partitions."""
    names = project.buckets
    return dg.define_asset_job(
        INDEX_JOB,
        selection=AssetSelection.all(),
        description="Brings the index in step with its sources and settings.",
        executor_def=dg.in_process_executor,
        tags={
            "dagster/asset_partition_range_start": names[0],
            "dagster/asset_partition_range_end": names[-1],
            COLLECTION_TAG: project.settings.alias,
        },
    )
