"""What runs together."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
from dagster import AssetSelection

from rag_pipeline.project import Project

INDEX_JOB, LOOK_JOB, REINDEX_JOB, RELEASE_JOB, FRESHNESS_JOB = "index", "look", "reindex", "release", "freshness"
COLLECTION_TAG = "rag_pipeline/collection"
"""One run per value at a time (dagster.yaml)."""


def make_index_job(project: Project) -> Any:
    """The job ``index``: scan, bring every bucket in step, go live, check. In one process, over all partitions."""
    return dg.define_asset_job(
        INDEX_JOB,
        selection=AssetSelection.all() - AssetSelection.assets("candidate_collection"),
        description="Brings the live index in step with its sources, and with settings that are applied in place.",
        executor_def=dg.in_process_executor,
        tags={**range_tags(project.buckets), COLLECTION_TAG: project.settings.alias},
    )


def make_look_job(project: Project) -> Any:
    """The job ``look``: scan, what is live, its points counted. What ``rag index`` runs where nothing is to be done.

    The bucket assets stay out: a materialization of each for every bucket would say that something was made. So do the checks
    of what they made, as their answer cannot have changed; ``live_collection`` counts the points itself.
    """
    return dg.define_asset_job(
        LOOK_JOB,
        selection=AssetSelection.assets("source_manifest", "live_collection"),
        description="Looks at the sources and at what is live; writes no bucket. What rag index runs when nothing was changed.",
        executor_def=dg.in_process_executor,
        tags={COLLECTION_TAG: project.settings.alias},
    )


def make_reindex_job(project: Project) -> Any:
    """The job ``reindex``: build the candidate, judge it, switch or refuse."""
    return dg.define_asset_job(
        REINDEX_JOB,
        selection=AssetSelection.assets("candidate_collection", "live_collection") - _freshness(),
        description="Builds what the settings ask for beside the live collection, judges it, and switches to it.",
        executor_def=dg.in_process_executor,
        tags={**range_tags(project.buckets), COLLECTION_TAG: f"{project.settings.alias}:candidate"},
    )


def make_release_job(project: Project) -> Any:
    """The job ``release``: last catch-up, gate, switch."""
    return dg.define_asset_job(
        RELEASE_JOB,
        selection=AssetSelection.assets("live_collection") - _freshness(),
        description="Catches the candidate up, judges it, and switches to it or says why not.",
        executor_def=dg.in_process_executor,
        tags={COLLECTION_TAG: f"{project.settings.alias}:candidate"},
    )


def make_freshness_job() -> Any:
    """The job ``freshness``: the one check that has to run when nothing else does."""
    return dg.define_asset_job(
        FRESHNESS_JOB,
        selection=_freshness(),
        description="Checks that the index still follows its sources.",
        executor_def=dg.in_process_executor,
    )


def _freshness() -> AssetSelection:
    return AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("live_collection"), "index_freshness"))


def range_tags(buckets: Sequence[str]) -> dict[str, str]:
    """What makes a run one of these buckets, which follow one another."""
    return {"dagster/asset_partition_range_start": buckets[0], "dagster/asset_partition_range_end": buckets[-1]}
