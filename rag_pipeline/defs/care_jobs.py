"""Jobs that fill no asset: go back, check everything, drop what is past its grace time, erase."""

from typing import Any

import dagster as dg
from pydantic import Field

from rag_pipeline.defs.jobs import COLLECTION_TAG
from rag_pipeline.defs.progress import LogProgress
from rag_pipeline.defs.release_assets import LIVE, live_metadata
from rag_pipeline.defs.translation import translated
from rag_pipeline.indexing.reports import release_values
from rag_pipeline.indexing.status import count_documents
from rag_pipeline.operations.erase import choose_documents, complete_unfinished, erase
from rag_pipeline.operations.gate import check_retired, check_whole
from rag_pipeline.operations.release import roll_back
from rag_pipeline.operations.retention import retain
from rag_pipeline.ports import Progress
from rag_pipeline.project import Project

ROLLBACK_JOB, FSCK_JOB, RETENTION_JOB, ERASE_JOB = "rollback", "fsck", "retention", "erase"
SHOWN_FINDINGS = 20


class RollbackConfig(dg.Config):
    """What is written down with a rollback."""

    reason: str = "asked for by hand"


def make_rollback_job(project: Project, show: Progress | None) -> Any:
    """The job ``rollback``."""

    @dg.op(description="Points the alias back at the collection that was live before, brought up to date.")
    def go_back(context: dg.OpExecutionContext, config: RollbackConfig) -> None:
        try:
            with translated():
                progress = show or LogProgress(context.log.info)
                done = roll_back(project, reason=config.reason, by=f"job {ROLLBACK_JOB}", progress=progress)
                points = project.store.count(done.collection)
                counts = count_documents(project.ledger, done.collection)
        finally:
            project.close()
        project.ledger.put_report(context.run_id, "release", release_values(done, counts=counts))
        context.log_event(dg.AssetMaterialization(LIVE, metadata=live_metadata(project, done, points=points)))
        context.log.info(f"{done.collection} is live again, {done.previous} is refused: {done.reason}")

    @dg.job(
        name=ROLLBACK_JOB,
        executor_def=dg.in_process_executor,
        tags={COLLECTION_TAG: f"{project.settings.alias}:rollback"},
        description="Goes back to the retired collection at once.",
    )
    def rollback() -> None:
        go_back()

    return rollback


def make_fsck_job(project: Project, show: Progress | None) -> Any:
    """The job ``fsck``; fails with findings."""

    @dg.op(description="Compares ledger, artifacts and every stored point of the live collection.")
    def check_everything(context: dg.OpExecutionContext) -> None:
        try:
            with translated(), project.writer_lock():
                chosen = project.collections()
                progress = show or LogProgress(context.log.info)
                report = check_whole(project, chosen.target, chosen.target_spec, is_live=True, progress=progress)
                doubts = check_retired(project, chosen.retired, progress)
        finally:
            project.close()
        for doubt in doubts:
            context.log.warning(doubt)
        context.log.info(f"{report.documents} documents and {report.points} points compared")
        if report.findings:
            lines = [f"{finding.kind} {finding.subject}: {finding.detail}" for finding in report.findings[:SHOWN_FINDINGS]]
            text = f"{len(report.findings)} findings; rag fsck --repair reconciles\n" + "\n".join(lines)
            raise dg.Failure(description=text, allow_retries=False)

    @dg.job(name=FSCK_JOB, executor_def=dg.in_process_executor, description="Checks the live index whole.")
    def fsck() -> None:
        check_everything()

    return fsck


def make_retention_job(project: Project) -> Any:
    """The job ``retention``."""

    @dg.op(description="Drops retired and refused collections whose grace time is over, and artifacts that only they needed.")
    def drop_expired_collections(context: dg.OpExecutionContext) -> None:
        try:
            with translated():
                done = retain(project)
        finally:
            project.close()
        dropped = ", ".join((*done.dropped, *done.artifacts)) or "nothing"
        context.log.info(f"dropped: {dropped}; in their grace time: {', '.join(done.kept) or 'none'}")

    @dg.job(
        name=RETENTION_JOB,
        executor_def=dg.in_process_executor,
        tags={COLLECTION_TAG: project.settings.alias},
        description="Clears away collections that nobody can go back to any more.",
    )
    def retention() -> None:
        drop_expired_collections()

    return retention


class EraseConfig(dg.Config):
    """Which documents go. Ids alone: a run keeps its config."""

    document_ids: list[str] = Field(default_factory=list)


def make_erase_job(project: Project) -> Any:
    """The job ``erase``; fails where the proof finds something."""

    @dg.op(description="Erases documents and equal copies for good, completes what was cut off, and proves that nothing is left.")
    def erase_documents(context: dg.OpExecutionContext, config: EraseConfig) -> None:
        try:
            with translated():
                chosen = choose_documents(project, config.document_ids)
                if chosen.unknown or not chosen.ids:
                    done = complete_unfinished(project) if not config.document_ids else None
                else:
                    done = erase(project, chosen)
        finally:
            project.close()
        if done is None:
            raise dg.Failure(description="no document has one of these ids; see the payload of a hit", allow_retries=False)
        context.log.info(f"{len(done.documents)} documents erased, {done.proof.files} files looked through")
        if not done.is_proven:
            text = "not proven gone; rag erase completes it\n" + "\n".join(done.proof.findings[:SHOWN_FINDINGS])
            raise dg.Failure(description=text, allow_retries=False)

    @dg.job(
        name=ERASE_JOB,
        executor_def=dg.in_process_executor,
        tags={COLLECTION_TAG: project.settings.alias},
        description="Erases documents for good. Takes ids, never text.",
    )
    def erasing() -> None:
        erase_documents()

    return erasing
