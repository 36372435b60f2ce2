"""The candidate, its gate, and what is behind the alias."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from rag_pipeline.defs import metadata
from rag_pipeline.defs.jobs import INDEX_JOB, LOOK_JOB
from rag_pipeline.defs.partitions import GROUP, OWNERS, backfill_policy, bucket_partitions
from rag_pipeline.defs.progress import LogProgress
from rag_pipeline.defs.translation import translated
from rag_pipeline.errors import ApprovalWantedError
from rag_pipeline.indexing.identity import spec_fingerprint
from rag_pipeline.indexing.release import Release, gate_values
from rag_pipeline.indexing.reports import build_values, find_problems, release_values
from rag_pipeline.indexing.status import count_documents
from rag_pipeline.operations.reindex import ReindexReport, pause_reindex, reindex
from rag_pipeline.operations.release import keep_live, release, validate
from rag_pipeline.ports import Progress
from rag_pipeline.project import Project
from rag_pipeline.schema import GateCheck, GateReport

CANDIDATE, LIVE = "candidate_collection", "live_collection"
GATE_CHECKS = {
    "fsck": "Every document, artifact row and stored point of the candidate is as it should be.",
    "retrieval": "The candidate finds what the live collection finds, within release.max_drop, and enough of it.",
    "latency": "Questions to the candidate take not much longer.",
    "canaries": "Every must-find question finds its document.",
    "neighbours": "Without a golden set: the same texts have similar neighbours in both collections.",
}


class ReindexConfig(dg.Config):
    """What one run may ask of ``candidate_collection``."""

    force: bool = False
    """Build settings that were refused before."""


class ReleaseConfig(dg.Config):
    """What one run may ask of ``live_collection``."""

    approve: bool = False
    """Agree to the switch, where ``release.mode`` is ``approval``."""


def make_candidate(project: Project, show: Progress | None) -> dg.AssetsDefinition:
    """The asset that a reindex fills."""
    spec = dg.AssetSpec(
        CANDIDATE,
        deps=["source_manifest"],
        group_name=GROUP,
        owners=OWNERS,
        kinds={"qdrant", "pytorch"},
        code_version=spec_fingerprint(project.spec),
        description="The next index, built beside the live one when the settings ask for a new model: stored documents are cut "
        "and embedded again, nothing is parsed. The live collection follows the sources meanwhile.",
    )

    @dg.multi_asset(
        name=CANDIDATE,
        specs=[spec],
        partitions_def=bucket_partitions(project),
        backfill_policy=backfill_policy(project),
    )
    def candidate_collection(context: dg.AssetExecutionContext, config: ReindexConfig) -> dg.MaterializeResult[None]:
        progress = show or LogProgress(context.log.info)
        if _is_by_hand(context.run):
            pause_reindex(project, is_paused=False)  # who starts it, or starts it again, wants it to go on
        try:
            with translated():
                done = reindex(project, context.partition_keys, force=config.force, progress=progress, say=context.log.warning)
        finally:
            project.close()
        project.ledger.put_report(context.run.run_id, "reindex", reindex_values(done))
        if done.is_paused:
            raise dg.Failure(description="paused; rag reindex goes on from here", allow_retries=False)
        return dg.MaterializeResult(metadata=_candidate_metadata(project, done))

    return candidate_collection


def make_gate(project: Project, show: Progress | None) -> dg.AssetChecksDefinition:
    """The blocking checks between the candidate and the alias."""
    specs = [
        dg.AssetCheckSpec(name=f"candidate_{name}", asset=CANDIDATE, blocking=True, description=text)
        for name, text in GATE_CHECKS.items()
    ]

    @dg.multi_asset_check(name="release_gate", specs=specs, can_subset=True)
    def release_gate(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        try:
            with translated():
                report = validate(project, progress=show or LogProgress(context.log.info))
        finally:
            project.close()
        if report is not None:
            project.ledger.put_report(context.run.run_id, "gate", gate_values(report))
        wanted = {key.name for key in context.selected_asset_check_keys}
        yield from (result for result in _check_results(report) if result.check_name in wanted)

    return release_gate


def make_live(project: Project, show: Progress | None) -> dg.AssetsDefinition:
    """The asset behind the alias."""

    @dg.asset(
        name=LIVE,
        deps=["source_manifest", "collection", CANDIDATE],  # the scan too: job look has nothing between the two
        group_name=GROUP,
        owners=OWNERS,
        kinds={"qdrant"},
        description="The collection behind the alias. A candidate takes its place in one step, or is refused with the reasons. "
        "Materialised by hand, this is the approval where release.mode is approval.",
    )
    def live_collection(context: dg.AssetExecutionContext, config: ReleaseConfig) -> dg.MaterializeResult[None]:
        progress = show or LogProgress(context.log.info)
        try:
            with translated():
                if context.run.job_name in (INDEX_JOB, LOOK_JOB):
                    with project.writer_lock():
                        done = keep_live(project)
                else:
                    done = _release(project, context, approve=config.approve, progress=progress)
                points = project.store.count(done.collection)
                counts = count_documents(project.ledger, done.collection)
        finally:
            project.close()
        project.ledger.put_report(context.run.run_id, "release", release_values(done, counts=counts))
        problems = find_problems(project.ledger.report(context.run.run_id), fail_share=project.settings.quarantine.fail_share)
        if problems:
            raise dg.Failure(description="; ".join(problems), allow_retries=False)
        return dg.MaterializeResult(metadata=live_metadata(project, done, points=points))

    return live_collection


def reindex_values(done: ReindexReport) -> dict[str, Any]:
    """The part of ``candidate_collection`` in a run's report."""
    return {
        **build_values(done.build),
        "candidate": done.candidate.name if done.candidate else None,
        "complete": done.is_complete,
        "paused": done.is_paused,
        "problems": done.problems,
    }


def _is_by_hand(run: dg.DagsterRun) -> bool:
    """Whether no sensor asked for this run; one that is executed again counts as asked for by hand."""
    return "dagster/sensor_name" not in run.tags or run.parent_run_id is not None


def _release(project: Project, context: dg.AssetExecutionContext, *, approve: bool, progress: Progress) -> Release:
    """A candidate that waits for approval is no failure: nothing is switched, and the run says why."""
    is_by_hand = context.run.job_name.startswith("__ASSET_JOB") and len(context.run.asset_selection or ()) == 1
    by = "web UI" if is_by_hand else f"job {context.run.job_name}"
    try:
        return release(project, approve=approve or is_by_hand, by=by, progress=progress)
    except ApprovalWantedError as error:
        live = str(project.store.resolve_alias(project.settings.alias))
        return Release(live, live, is_switched=False, reason=str(error))


def _check_results(report: GateReport | None) -> Iterator[dg.AssetCheckResult]:
    """A result for every check; one that had nothing to judge passes and says so."""
    checks = {check.name: check for check in report.checks} if report else {}
    is_sound = "fsck" not in checks or checks["fsck"].passed
    nothing = "nothing to judge" if is_sound else "not judged, because the fsck failed"
    for name in GATE_CHECKS:
        check = checks.get(name, GateCheck(name, True, nothing, {}))
        yield dg.AssetCheckResult(
            asset_key=CANDIDATE,
            check_name=f"candidate_{name}",
            passed=check.passed,
            severity=dg.AssetCheckSeverity.ERROR,
            description=check.summary,
            metadata=metadata.evidence_metadata(check.evidence),
        )


def _candidate_metadata(project: Project, done: ReindexReport) -> Mapping[str, Any]:
    if done.candidate is None:
        return {"summary": "the settings ask for nothing that needs a candidate"}
    built = len(project.ledger.bucket_states(done.candidate.name))
    return {
        "collection": done.candidate.name,
        "complete": done.is_complete,
        "buckets_built": f"{built} of {len(project.buckets)}",
        **metadata.candidate_metadata(done.build),
        "slices": done.slices,
        "problems": "; ".join(done.problems) or "none",
    }


def live_metadata(project: Project, done: Release, *, points: int) -> dict[str, Any]:
    """Of ``live_collection``: what is behind the alias, and why."""
    values: dict[str, Any] = {
        "alias": project.settings.alias,
        "collection": done.collection,
        "switched": done.is_switched,
        **({"previous": done.previous or "none"} if done.is_switched else {}),
        "reason": done.reason,
        "points": points,
    }
    if done.gate is not None:
        verdicts = {True: "passed", False: "refused"}
        values |= {f"gate_{check.name}": f"{verdicts[check.passed]}: {check.summary}" for check in done.gate.checks}
    return values
