"""Builds the candidate beside the live collection, in slices, so that the live one follows the sources meanwhile.

A slice holds the writer lock for about ``release.follow_interval_s``; between two slices other writers get their turn. Every
batch of vectors is kept, so a run that is paused, cancelled or killed costs at most the batch in flight.

A run of some buckets, over servers, holds the locks of those alone, so that runs on other machines work beside it. It leaves the
sources to the index job, and whoever finds every bucket built notes the candidate as caught up.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from rag_pipeline.errors import ReleaseBlockedError
from rag_pipeline.indexing.build import BuildReport, merge_reports
from rag_pipeline.indexing.collections import UNDER_WAY, Collections, forget_refusal, settle, start_candidate
from rag_pipeline.indexing.identity import spec_values
from rag_pipeline.operations.follow import follow_sources
from rag_pipeline.operations.gate import check_question_files
from rag_pipeline.operations.plan import estimate_space, space_problem
from rag_pipeline.operations.progress import SILENT, SlicedProgress
from rag_pipeline.ports import Progress
from rag_pipeline.project import Project
from rag_pipeline.schema import CollectionRecord, CollectionState

PAUSE_KEY = "reindex_paused"
TURN_S = 0.5
"""Seconds between two slices: others poll the writer lock five times a second."""
LOOK_S = 2.0
"""Seconds between two looks at the pause flag while a slice works."""
LOOK_SHARE = 10.0
"""A look at the sources may take one part in so many of the time."""
LOG_S = 60.0
SETTLING_SLICES = 3
"""Slices in which a document that changes while it is read, or may not be read, is tried at least."""


@dataclass(slots=True)
class ReindexReport:
    """What one run did to the candidate."""

    candidate: CollectionRecord | None
    """None when the settings ask for nothing that needs one."""
    build: BuildReport = field(default_factory=BuildReport)
    is_complete: bool = False
    """Every bucket of the index is in step, not only those of this run."""
    is_paused: bool = False
    is_taken: bool = False
    """Another run released the candidate, or the settings' wish was met otherwise, meanwhile."""
    problems: list[str] = field(default_factory=list)
    """What the live collection could not take meanwhile."""
    slices: int = 0
    follow_at_s: float = 0.0
    """When the sources are looked at again."""


def reindex(
    project: Project,
    buckets: Sequence[str],
    *,
    force: bool = False,
    progress: Progress,
    say: Callable[[str], None] = lambda _: None,
) -> ReindexReport:
    """What was built of the candidate that the settings ask for.

    Raises ReleaseBlockedError when this spec was refused before and ``force`` is not set, or the second collection does not fit;
    SettingsError for files of questions that the gate could not use in the end.
    """
    outcome = ReindexReport(candidate=None)
    say_sometimes = _Throttle(say)
    chosen = _begin(project, force=force)
    if chosen.candidate is None:
        return outcome
    sliced = SlicedProgress(progress)
    while not (outcome.is_paused or outcome.is_taken or _is_done(project, buckets, outcome)):
        if outcome.slices:
            time.sleep(TURN_S)
            sliced.next_slice()
        _work_one_slice(project, buckets, outcome, sliced)
        if outcome.problems:
            say_sometimes("; ".join(dict.fromkeys(outcome.problems)))
    if outcome.candidate is not None:
        outcome.is_complete = not project.parts(outcome.candidate).out_of_step()
    return outcome


def pause_reindex(project: Project, *, is_paused: bool) -> None:
    """Asks a running reindex to stop at its next batch, and sensors not to start one; or takes that back."""
    project.ledger.set_meta(PAUSE_KEY, "yes" if is_paused else "")


def is_reindex_paused(project: Project) -> bool:
    """Whether somebody asked for a pause."""
    return bool(project.ledger.meta(PAUSE_KEY))


def _begin(project: Project, *, force: bool) -> Collections:
    """The collections, once nothing speaks against starting."""
    chosen = project.collections()
    if chosen.candidate is None:
        return chosen
    check_question_files(project)
    if force:
        with project.writer_lock():
            forget_refusal(project.ledger, project.settings.alias, project.spec)
            _mend(project, chosen.candidate)
    elif chosen.refusal is not None:
        raise ReleaseBlockedError(
            f"these settings were refused before: {chosen.refusal}; change them, or build them again with rag reindex --force"
        )
    problem = space_problem(project, estimate_space(project, chosen))
    if problem is not None:
        raise ReleaseBlockedError(problem)
    return chosen


def _mend(project: Project, candidate: CollectionRecord) -> None:
    """Throws out what the fsck of an earlier gate found wrong: by its ids alone, a build would keep a damaged point."""
    if project.store.describe(candidate.name) is None:
        return
    fsck = project.parts(candidate, project.spec).fsck(is_live=False)
    report = fsck.check(project.buckets, SILENT)
    if report.findings:
        fsck.repair(report)


def _is_done(project: Project, buckets: Sequence[str], outcome: ReindexReport) -> bool:
    """Whether nothing is left to do: a document that cannot be read is tried in a few slices, then left in quarantine."""
    if outcome.candidate is None:
        return False
    build = project.parts(outcome.candidate).build()
    left = build.out_of_step(buckets) if outcome.slices >= SETTLING_SLICES else build.stale_buckets(buckets)
    return not left


def _work_one_slice(project: Project, buckets: Sequence[str], outcome: ReindexReport, progress: Progress) -> None:
    if project.works_beside_others(buckets):
        _work_beside_others(project, buckets, outcome, progress)
        return
    stop = _Deadline(project)
    with project.writer_lock():
        settle(project.ledger, project.store, alias=project.settings.alias)
        _follow(project, outcome, progress)
        chosen = project.collections()
        if chosen.candidate is None:
            outcome.is_taken = True
            return
        outcome.candidate = start_candidate(project.ledger, project.store, chosen.candidate, project.spec)
        parts = project.parts(outcome.candidate, project.spec)
        report = parts.build().run(buckets, progress=progress, should_stop=stop)
        outcome.build = merge_reports(outcome.build, report)
        outcome.slices += 1
        outcome.is_paused = stop.is_paused
        if not parts.out_of_step():
            outcome.candidate = _note_caught_up(project, outcome.candidate)
            parts.build().compact(project.buckets)
        project.remember_rate(report, project.spec)


def _work_beside_others(project: Project, buckets: Sequence[str], outcome: ReindexReport, progress: Progress) -> None:
    if _started(project) is None and not _start(project):
        outcome.is_taken = True
        return
    stop = _Deadline(project)
    with project.bucket_locks(buckets):
        candidate = _started(project)
        if candidate is None:  # the settings or the alias changed in between: the next slice looks again
            return
        outcome.candidate = candidate
        report = project.parts(candidate, project.spec).build().run(buckets, progress=progress, should_stop=stop)
        outcome.build = merge_reports(outcome.build, report)
        outcome.slices += 1
        outcome.is_paused = stop.is_paused
        project.remember_rate(report, project.spec)
    _complete(project, candidate)


def _started(project: Project) -> CollectionRecord | None:
    """The candidate, if it stands and was begun under this spec: nothing is left to do before its buckets."""
    record = project.collections().candidate
    if record is None or record.state not in UNDER_WAY or dict(record.spec) != spec_values(project.spec):
        return None
    is_known = record in project.ledger.collections(record.alias)
    return record if is_known and project.store.describe(record.name) is not None else None


def _start(project: Project) -> bool:
    """False when the settings ask for no candidate any more."""
    with project.writer_lock():
        settle(project.ledger, project.store, alias=project.settings.alias)
        candidate = project.collections().candidate
        if candidate is not None:
            start_candidate(project.ledger, project.store, candidate, project.spec)
        return candidate is not None


def _complete(project: Project, candidate: CollectionRecord) -> None:
    """Notes that the last bucket is built, if it is."""
    build = project.parts(candidate, project.spec).build()
    if build.out_of_step(project.buckets):
        return
    with project.writer_lock():
        if _started(project) == candidate and not build.out_of_step(project.buckets):
            _note_caught_up(project, candidate)
            build.compact(project.buckets)


def _follow(project: Project, outcome: ReindexReport, progress: Progress) -> None:
    """One look at the sources, if that is due: a listing that takes long is not repeated in every slice."""
    started_s = time.monotonic()
    if started_s >= outcome.follow_at_s:
        outcome.problems = follow_sources(project, progress=progress)
        outcome.follow_at_s = started_s + LOOK_SHARE * (time.monotonic() - started_s)


def _note_caught_up(project: Project, record: CollectionRecord) -> CollectionRecord:
    if record.state is CollectionState.BUILDING:
        project.store.optimize(record.name)
        record = replace(record, state=CollectionState.CAUGHT_UP)
        project.ledger.put_collection(record)
    return record


class _Deadline:
    """True when a slice is over, or somebody asked for a pause."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._ends_s = time.monotonic() + project.settings.release.follow_interval_s
        self._looks_s = time.monotonic()
        self.is_paused = False

    def __call__(self) -> bool:
        now_s = time.monotonic()
        if now_s >= self._looks_s:
            self._looks_s = now_s + LOOK_S
            self.is_paused = is_reindex_paused(self._project)
        return self.is_paused or now_s >= self._ends_s


class _Throttle:
    """Says a thing at most once a minute."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._next_s = 0.0

    def __call__(self, message: str) -> None:
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + LOG_S
            self._say(message)
