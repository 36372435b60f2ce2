"""The assets that every index run fills. A body reads load, decide, do, report; every rule lives in ``rag_pipeline.indexing``."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from rag_pipeline.defs import metadata
from rag_pipeline.defs.partitions import GROUP, OWNERS, backfill_policy, bucket_partitions
from rag_pipeline.defs.progress import LogProgress
from rag_pipeline.defs.release_assets import make_candidate, make_live
from rag_pipeline.defs.translation import translated
from rag_pipeline.indexing.build import STAGES
from rag_pipeline.indexing.identity import fingerprint, space_fingerprint, spec_fingerprint, spec_values
from rag_pipeline.indexing.reports import build_values, scan_values
from rag_pipeline.operations.follow import FollowReport, bring_buckets_in_step
from rag_pipeline.ports import Progress
from rag_pipeline.project import Project
from rag_pipeline.schema import IndexSpec

PREVIEW_ROWS = 20


class ScanConfig(dg.Config):
    """What one run may ask of ``source_manifest``."""

    approve_deletes: bool = False
    """Let the documents that the delete brake holds back be deleted."""


class BuildConfig(dg.Config):
    """What one run may ask of the bucket assets."""

    compare_all: bool = False
    """Compare every bucket with the store, also those that the ledger knows to be in step."""


def make_assets(project: Project, *, show: Progress | None = None) -> list[dg.AssetsDefinition]:
    """The assets of one index; ``show`` gets the progress instead of the run's log."""
    return [
        _source_manifest(project, show),
        _bucket_assets(project, show),
        make_candidate(project, show),
        make_live(project, show),
    ]


def _source_manifest(project: Project, show: Progress | None) -> dg.AssetsDefinition:
    @dg.asset(
        group_name=GROUP,
        owners=OWNERS,
        kinds={"python"},
        description="Every file of every source: stat first, hashed only where the stat differs; one scan in the ledger.",
    )
    def source_manifest(context: dg.AssetExecutionContext, config: ScanConfig) -> dg.MaterializeResult[None]:
        with translated(), project.writer_lock():
            scan = project.scan(approve_deletes=config.approve_deletes, progress=show or LogProgress(context.log.info))
        values = scan_values(scan)
        project.ledger.put_report(context.run.run_id, "scan", values)
        for problem in values["problems"]:
            context.log.error(problem)
        changes = scan.changes[:PREVIEW_ROWS]
        return dg.MaterializeResult(
            metadata={
                "generation": scan.generation,
                **values["documents"],
                "seconds": round(values["seconds"], 3),
                "problems": len(values["problems"]),
                "changes": metadata.table(["change", "path"], [[change.kind, change.path] for change in changes]),
            }
        )

    return source_manifest


def _bucket_assets(project: Project, show: Progress | None) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name="index_buckets",
        specs=_bucket_specs(project.spec),
        can_subset=True,
        partitions_def=bucket_partitions(project),
        backfill_policy=backfill_policy(project),
    )
    def index_buckets(context: dg.AssetExecutionContext, config: BuildConfig) -> Iterator[dg.MaterializeResult[None]]:
        stages = {key.to_user_string() for key in context.selected_asset_keys}
        progress = show or LogProgress(context.log.info)
        try:
            with translated():
                done = bring_buckets_in_step(
                    project, context.partition_keys, stages=stages, compare_all=config.compare_all, progress=progress
                )
        finally:
            project.close()
        for problem in done.problems:
            context.log.warning(problem)
        project.ledger.put_report(context.run.run_id, "build", build_values(done.report))
        for name in STAGES:
            if name in stages:
                yield dg.MaterializeResult(asset_key=name, metadata=_stage_metadata(project, name, done))

    return index_buckets


def _bucket_specs(spec: IndexSpec) -> list[dg.AssetSpec]:
    values = spec_values(spec)
    tokenizer = {"tokenizer": spec.tokenizer_sha256, "chunking": values["chunking"]}

    def stage(name: str, *, after: str, kinds: set[str], version: str, text: str) -> dg.AssetSpec:
        return dg.AssetSpec(
            name, deps=[after], group_name=GROUP, owners=OWNERS, kinds=kinds, code_version=version, description=text
        )

    return [
        stage(
            "documents",
            after="source_manifest",
            kinds={"parquet"},
            version=fingerprint(values["parsing"]),
            text="Text and structure of every document, parsed in killable child processes; failures go to quarantine.",
        ),
        stage(
            "chunks",
            after="documents",
            kinds={"parquet"},
            version=fingerprint(tokenizer),
            text="Documents cut by the rule of their type, sized in tokens of the embedding model.",
        ),
        stage(
            "embeddings",
            after="chunks",
            kinds={"pytorch", "parquet"},
            version=space_fingerprint(spec.vector_space),
            text="A vector for every different text, made once per model wherever the text came from.",
        ),
        stage(
            "collection",
            after="embeddings",
            kinds={"qdrant"},
            version=spec_fingerprint(spec),
            text="Points of the collection, made equal to the chunks: upsert, read back, delete what is extra.",
        ),
    ]


def _stage_metadata(project: Project, name: str, done: FollowReport) -> Mapping[str, Any]:
    report = done.report
    if name == "documents":
        return metadata.documents_metadata(report, project.ledger.quarantine())
    if name == "chunks":
        return metadata.chunks_metadata(report, max_tokens=done.spec.vector_space.max_tokens)
    if name == "embeddings":
        engine = project.models.embedder(done.spec.vector_space).describe() if report.embedded else {}
        return metadata.embeddings_metadata(report, engine=engine)
    followed = [[key, other.upserted, other.deleted] for key, other in done.retired.items()]
    return {
        **metadata.collection_metadata(report, collection=done.target.name),
        "retired": metadata.table(["kept fresh for a rollback", "upserted", "deleted"], followed),
    }
