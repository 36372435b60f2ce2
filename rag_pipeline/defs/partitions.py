"""What all assets of an index have in common."""

import dagster as dg

from rag_pipeline.project import Project

GROUP = "indexing"
OWNERS = ["team:rag-pipeline"]


def backfill_policy(project: Project) -> dg.BackfillPolicy:
    """One run for all chosen buckets, or for so many of them as the settings say."""
    per_run = project.settings.buckets_per_run
    return dg.BackfillPolicy.single_run() if per_run is None else dg.BackfillPolicy.multi_run(max_partitions_per_run=per_run)


def bucket_partitions(project: Project) -> dg.StaticPartitionsDefinition:
    """One partition a bucket."""
    return dg.StaticPartitionsDefinition(project.buckets)
