"""Releases a candidate: last catch-up, gate, switch, a look right after it, and back again if that look is bad."""

import json
from dataclasses import replace

from rag_pipeline.errors import ApprovalWantedError, RagPipelineError, ReleaseBlockedError
from rag_pipeline.evaluation.gate_checks import check_canaries
from rag_pipeline.indexing.collections import Collections, refuse, settle, start_candidate
from rag_pipeline.indexing.identity import spec_from_values
from rag_pipeline.indexing.release import Release, finish, go_live, switch, switch_back
from rag_pipeline.operations.follow import follow_sources
from rag_pipeline.operations.gate import check_whole, judge, load_canaries
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.ports import Progress
from rag_pipeline.project import Project
from rag_pipeline.schema import CollectionRecord, CollectionState, GateReport

APPROVAL = "approval"


def keep_live(project: Project) -> Release:
    """What was said of the alias after an index run: the first collection goes live, a live one stays. Under the writer lock."""
    settle(project.ledger, project.store, alias=project.settings.alias)
    _complete_look(project, SILENT)
    chosen = project.collections()
    missing = project.parts(chosen.target, chosen.target_spec).out_of_step()
    return go_live(project.ledger, project.store, record=chosen.target, spec=chosen.target_spec, out_of_step=len(missing))


def validate(project: Project, *, progress: Progress) -> GateReport | None:
    """The gate's verdict on the candidate as it is after a last catch-up; None when there is none, or not all of it yet.

    A refusal is remembered; the live collection stays.
    """
    candidate = project.collections().candidate
    if candidate is None or _unbuilt(project, candidate):
        return None  # without the lock: runs of other buckets may be at work
    with project.writer_lock():
        chosen = project.collections()
        if chosen.candidate is None or _unbuilt(project, chosen.candidate):
            return None
        chosen = _caught_up(project, progress)
        if chosen.candidate is None:
            return None
        return _judge(project, chosen, chosen.candidate, progress)[0]


def release(project: Project, *, approve: bool, by: str, progress: Progress) -> Release:
    """The switch to the candidate, or what is live when the settings ask for nothing else.

    Raises ReleaseBlockedError with the reasons of a refusal, ApprovalWantedError where somebody has to agree first. Right after
    the switch everything is looked at again; if that look is bad, the alias goes back and the candidate is refused.
    """
    with project.writer_lock():
        _complete_look(project, progress)
        chosen = _caught_up(project, progress)
        if chosen.candidate is None or chosen.live is None:
            return keep_live(project)
        report, record = _judge(project, chosen, chosen.candidate, progress)
        if not report.passed:
            raise ReleaseBlockedError(f"{record.name} was refused, {chosen.live.name} stays live. " + "; ".join(report.reasons))
        if project.settings.release.mode == APPROVAL and not approve:
            raise ApprovalWantedError(
                f"{record.name} passed the gate and waits for approval; run rag release --approve, or materialise live_collection"
            )
        finish(project.ledger, project.store, record=record, spec=project.spec, out_of_step=0)
        return _switch_and_look(project, record, chosen.live, report, by=by, progress=progress)


def roll_back(project: Project, *, reason: str, by: str, progress: Progress) -> Release:
    """The switch back to the newest retired collection, brought up to date as far as that is possible first.

    What is left behind is refused, and its settings with it, so that no sensor builds them again. Raises ReleaseBlockedError
    when there is nothing to go back to.
    """
    with project.writer_lock():
        settle(project.ledger, project.store, alias=project.settings.alias)
        chosen = project.collections()
        former = next((record for record in chosen.retired if project.store.describe(record.name) is not None), None)
        if chosen.live is None or former is None:
            raise ReleaseBlockedError(
                "there is no retired collection to go back to: nothing was switched yet, it was gone back already, or "
                "release.grace_hours are over; rag status shows what stands, and rag reindex --force goes forward again"
            )
        try:
            problems = follow_sources(project, progress=progress)
        except RagPipelineError as error:  # going back must work on the day when everything else fails
            problems = [f"{former.name} could not be brought up to date first: {error}"]
        said = "; ".join([reason, *problems])
        return switch_back(project.ledger, project.store, to=former, refused=chosen.live, reason=said, by=by)


def _caught_up(project: Project, progress: Progress) -> Collections:
    """The collections after live and candidate took what the sources have now.

    Raises ReleaseBlockedError for a candidate that was never built whole.
    """
    settle(project.ledger, project.store, alias=project.settings.alias)
    chosen = project.collections()
    record = chosen.candidate
    if record is None:
        return chosen
    if chosen.refusal is not None:
        raise ReleaseBlockedError(f"{record.name} was refused: {chosen.refusal}; rag reindex --force builds and judges it again")
    unbuilt = _unbuilt(project, record)
    if unbuilt:
        raise ReleaseBlockedError(f"{len(unbuilt)} buckets of {record.name} are not built yet; run rag reindex")
    follow_sources(project, progress=progress)
    record = start_candidate(project.ledger, project.store, record, project.spec)
    project.parts(record, project.spec).build().run(project.buckets, progress=progress)
    return project.collections()


def _unbuilt(project: Project, record: CollectionRecord) -> set[str]:
    """Buckets that no reindex brought in step yet; all of them where the store has lost the collection."""
    if project.store.describe(record.name) is None:
        return set(project.buckets)
    return set(project.buckets) - set(project.ledger.bucket_states(record.name))


def _judge(
    project: Project, chosen: Collections, record: CollectionRecord, progress: Progress
) -> tuple[GateReport, CollectionRecord]:
    """The verdict, and the record as it stands after it."""
    missing = project.parts(record, project.spec).out_of_step()
    if missing:
        raise ReleaseBlockedError(
            f"{record.name} has {len(missing)} buckets out of step after the last catch-up; run rag reindex"
        )
    report = judge(project, record, project.spec, chosen.live, progress)
    if report.passed:
        record = replace(record, state=CollectionState.VALIDATED)
        project.ledger.put_collection(record)
    else:
        record = refuse(project.ledger, record, "; ".join(report.reasons))
    return report, record


def _switch_and_look(
    project: Project, record: CollectionRecord, former: CollectionRecord, report: GateReport, *, by: str, progress: Progress
) -> Release:
    content = {"by": by, "reason": "passed the gate", "evidence": {check.name: check.summary for check in report.checks}}
    project.ledger.set_meta(_look_key(project), json.dumps([record.name, former.name]))
    done = switch(project.ledger, project.store, record=record, kind="switch", content=content)
    _look_or_go_back(project, record, former, progress)
    return replace(done, gate=report)


def _look_key(project: Project) -> str:
    """Under it lies which collection has still to be looked at after its switch, and where to go back to.

    A run that dies right after a switch must not leave a bad collection live unseen.
    """
    return f"look_due:{project.settings.alias}"


def _complete_look(project: Project, progress: Progress) -> None:
    """The look that a run owed when it died right after the switch."""
    due = json.loads(project.ledger.meta(_look_key(project)) or "[]")
    if not due:
        return
    records = {record.name: record for record in project.ledger.collections(project.settings.alias)}
    record, former = (records.get(name) for name in due)
    is_live = project.store.resolve_alias(project.settings.alias) == due[0]
    if is_live and record is not None and former is not None and project.store.describe(former.name) is not None:
        _look_or_go_back(project, record, former, progress)
    else:
        project.ledger.set_meta(_look_key(project), "")


def _look_or_go_back(project: Project, record: CollectionRecord, former: CollectionRecord, progress: Progress) -> None:
    fault = _look_after(project, record, progress)
    if fault is not None:
        reason = f"gone back right after the switch: {fault}"
        switch_back(project.ledger, project.store, to=former, refused=record, reason=reason, by="automatic")
    project.ledger.set_meta(_look_key(project), "")
    if fault is not None:
        raise ReleaseBlockedError(f"{record.name} was live for a moment and {former.name} is live again: {fault}")


def _look_after(project: Project, record: CollectionRecord, progress: Progress) -> str | None:
    """What is wrong with the collection as readers see it now, or None."""
    try:
        findings = check_whole(project, record, spec_from_values(record.spec), is_live=True, progress=progress).by_kind()
        if findings:
            return f"fsck found {', '.join(f'{number} {kind}' for kind, number in findings.items())}"
        searcher, limit = project.searcher(), project.settings.release.limit
        canaries = check_canaries(load_canaries(project), lambda question: searcher.search(question, limit=limit), limit=limit)
        return None if canaries.passed else f"canaries: {canaries.summary}"
    except RagPipelineError as error:
        return str(error)
