"""What all assets of an index have in common."""

import dagster as dg

from rag_pipeline.project import Project

GROUP = "indexing"
OWNERS = ["team:rag-pipeline"]


def bucket_partitions(project: Project) -> dg.StaticPartitionsDefinition:
    """One partition a bucket."""
    return dg.StaticPartitionsDefinition(project.buckets)
