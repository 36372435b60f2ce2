"""The six assets. A body reads load, decide, do, report; every rule lives in ``rag_pipeline.indexing``."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from rag_pipeline.defs import metadata
from rag_pipeline.defs.progress import LogProgress
from rag_pipeline.errors import BackendUnavailableError, RagPipelineError, StoreLockedError
from rag_pipeline.indexing.build import STAGES, BuildReport
from rag_pipeline.indexing.identity import fingerprint, space_fingerprint, spec_fingerprint, spec_values
from rag_pipeline.indexing.release import go_live
from rag_pipeline.indexing.reports import build_values, find_problems, release_values, scan_values
from rag_pipeline.indexing.status import count_documents
from rag_pipeline.ports import Progress
from rag_pipeline.project import Project
from rag_pipeline.schema import IndexSpec

GROUP = "indexing"
OWNERS = ["team:rag-pipeline"]
RETRY_AFTER_S = 30
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
    return [_source_manifest(project, show), _bucket_assets(project, show), _live_collection(project)]


def bucket_partitions(project: Project) -> dg.StaticPartitionsDefinition:
    """One partition a bucket."""
    return dg.StaticPartitionsDefinition(project.buckets)


def _source_manifest(project: Project, show: Progress | None) -> dg.AssetsDefinition:
    @dg.asset(
        group_name=GROUP,
        owners=OWNERS,
        kinds={"python"},
        description="Every file of every source: stat first, hashed only where the stat differs; one scan in the ledger.",
    )
    def source_manifest(context: dg.AssetExecutionContext, config: ScanConfig) -> dg.MaterializeResult[None]:
        with _translated(), project.writer_lock():
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
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def index_buckets(context: dg.AssetExecutionContext, config: BuildConfig) -> Iterator[dg.MaterializeResult[None]]:
        stages = {key.to_user_string() for key in context.selected_asset_keys}
        progress = show or LogProgress(context.log.info)
        try:
            with _translated(), project.writer_lock():
                target = project.open_target()
                build = project.build()
                # Who asks for one asset or some buckets wants them looked at, whatever the ledger says.
                is_whole = stages.issuperset(STAGES) and len(context.partition_keys) == len(project.buckets)
                only_stale = is_whole and not config.compare_all
                report = build.run(context.partition_keys, stages=stages, only_stale=only_stale, progress=progress)
                if is_whole:
                    build.compact(project.buckets)
                project.remember_rate(report)
        finally:
            project.close()
        project.ledger.put_report(context.run.run_id, "build", build_values(report))
        for name in STAGES:
            if name in stages:
                yield dg.MaterializeResult(asset_key=name, metadata=_stage_metadata(project, name, report, target.name))

    return index_buckets


def _live_collection(project: Project) -> dg.AssetsDefinition:
    @dg.asset(
        deps=["collection"],
        group_name=GROUP,
        owners=OWNERS,
        kinds={"qdrant"},
        code_version=spec_fingerprint(project.spec),
        description="The collection behind the alias. Switched to a complete one; anything less is refused with the reason.",
    )
    def live_collection(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        try:
            with _translated(), project.writer_lock():
                build = project.build()
                stale = build.stale_buckets(project.buckets)
                release = go_live(
                    project.ledger, project.store, record=project.open_target(), spec=project.spec, out_of_step=len(stale)
                )
                points = project.store.count(release.collection)
                counts = count_documents(project.ledger, release.collection)
        finally:
            project.close()
        project.ledger.put_report(context.run.run_id, "release", release_values(release, counts=counts))
        problems = find_problems(project.ledger.report(context.run.run_id), fail_share=project.settings.quarantine.fail_share)
        if problems:
            raise dg.Failure(description="; ".join(problems), allow_retries=False)
        return dg.MaterializeResult(
            metadata={
                "alias": project.settings.alias,
                "collection": release.collection,
                "previous": release.previous or "none",
                "switched": release.is_switched,
                "reason": release.reason,
                "points": points,
            }
        )

    return live_collection


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


def _stage_metadata(project: Project, name: str, report: BuildReport, collection: str) -> Mapping[str, Any]:
    if name == "documents":
        return metadata.documents_metadata(report)
    if name == "chunks":
        return metadata.chunks_metadata(report, max_tokens=project.spec.vector_space.max_tokens)
    if name == "embeddings":
        engine = project.embedder.describe() if report.embedded else {}
        return metadata.embeddings_metadata(report, engine=engine)
    return metadata.collection_metadata(report, collection=collection)


@contextmanager
def _translated() -> Iterator[None]:
    """Our errors as Dagster's: retried where that may help, else failed with the one message that matters."""
    try:
        yield
    except (BackendUnavailableError, StoreLockedError) as error:
        raise dg.RetryRequested(max_retries=2, seconds_to_wait=RETRY_AFTER_S) from error
    except RagPipelineError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
