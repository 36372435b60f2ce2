"""Keeps the live collection, and retired ones for a rollback, in step with the sources: each under its own spec and model."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from rag_pipeline.collection_parts import CollectionParts
from rag_pipeline.errors import ModelChangedError
from rag_pipeline.indexing.build import STAGES, BuildReport
from rag_pipeline.indexing.collections import Collections, open_collection, settle
from rag_pipeline.ports import Progress
from rag_pipeline.project import LOOKED_KEY, Project
from rag_pipeline.schema import CollectionRecord, IndexSpec


@dataclass(slots=True)
class FollowReport:
    """What was brought in step."""

    target: CollectionRecord
    spec: IndexSpec
    report: BuildReport
    retired: dict[str, BuildReport] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """Collections that cannot take new texts, and why."""


def bring_buckets_in_step(
    project: Project, buckets: Sequence[str], *, stages: Collection[str], compare_all: bool, progress: Progress
) -> FollowReport:
    """What ``bring_in_step`` did, under the locks that it takes: those of the buckets, where others write the rest meanwhile."""
    if project.works_beside_others(buckets):
        return _bring_part_in_step(project, buckets, stages=stages, progress=progress)
    with project.writer_lock():
        return bring_in_step(project, buckets, stages=stages, compare_all=compare_all, progress=progress)


def _bring_part_in_step(project: Project, buckets: Sequence[str], *, stages: Collection[str], progress: Progress) -> FollowReport:
    """Compaction, retired collections and the alias are left to the next run of the whole index."""
    while True:
        if not _is_open(project, project.collections()):
            with project.writer_lock():
                settle(project.ledger, project.store, alias=project.settings.alias)
                chosen = project.collections()
                open_collection(project.ledger, project.store, chosen.target, chosen.target_spec)
        with project.bucket_locks(buckets):
            chosen = project.collections()
            if not _is_open(project, chosen):  # a switch or a lost store came in between
                continue
            build = project.parts(chosen.target, chosen.target_spec).build()
            report = build.run(buckets, stages=stages, only_stale=False, progress=progress)
            project.remember_rate(report, chosen.target_spec)
            return FollowReport(chosen.target, chosen.target_spec, report)


def _is_open(project: Project, chosen: Collections) -> bool:
    """Whether the collection that an index run fills stands, in ledger and store."""
    is_known = chosen.target in project.ledger.collections(project.settings.alias)
    return is_known and project.store.describe(chosen.target.name) is not None


def bring_in_step(
    project: Project,
    buckets: Sequence[str],
    *,
    stages: Collection[str] = STAGES,
    compare_all: bool = False,
    progress: Progress,
) -> FollowReport:
    """What the target, and every retired collection, needed to equal the ledger's documents. Under the writer lock.

    ``compare_all`` compares every bucket with the store, whatever the ledger says. So does whoever asks for one stage or for
    some buckets.
    """
    settle(project.ledger, project.store, alias=project.settings.alias)
    chosen = project.collections()
    open_collection(project.ledger, project.store, chosen.target, chosen.target_spec)
    parts = project.parts(chosen.target, chosen.target_spec)
    is_whole = set(stages) >= set(STAGES) and len(buckets) == len(project.buckets)
    only_stale = is_whole and not compare_all

    def build(of: CollectionParts) -> BuildReport:
        return of.build().run(buckets, stages=stages, only_stale=only_stale, progress=progress)

    try:
        report = build(parts)
    except ModelChangedError:  # what needs no model, such as a deletion, must not wait for one
        raise ModelChangedError("; ".join(_follow_each_bucket(project, chosen.target, progress))) from None
    outcome = FollowReport(chosen.target, chosen.target_spec, report)
    project.remember_rate(report, chosen.target_spec)
    if is_whole:
        parts.build().compact(project.buckets)
        for record in chosen.retired:
            _follow_retired(project, record, build, outcome)
    return outcome


def follow_sources(project: Project, *, progress: Progress) -> list[str]:
    """Problems met while the live and the retired collections followed the sources once. Under the writer lock.

    Texts that the live collection's own model can no longer embed are reported, and everything else is done: deletions must
    reach it while its successor is built.
    """
    scan = project.scan(approve_deletes=False, progress=progress)
    problems = list(scan.problems)
    chosen = project.collections()
    for record in (*([chosen.live] if chosen.live else []), *chosen.retired):
        problems += _follow_each_bucket(project, record, progress)
    return problems


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far the live collection is behind its sources, as far as anybody looked."""

    hours: float | None
    """Since the sources were last listed; None before the first time."""
    buckets_behind: int


def measure_freshness(project: Project) -> Freshness:
    """How old the newest look at the sources is, and how much of it the live collection lacks."""
    looked_ns = project.ledger.meta(LOOKED_KEY)
    hours = (project.clock.now_ns() - int(looked_ns)) / 3.6e12 if looked_ns else None
    chosen = project.collections()
    return Freshness(hours, len(project.parts(chosen.target, chosen.target_spec).out_of_step()))


def _follow_retired(
    project: Project, record: CollectionRecord, build: Callable[[CollectionParts], BuildReport], outcome: FollowReport
) -> None:
    if project.store.describe(record.name) is None:
        return  # retention was cut off between the points and the record; it finishes
    try:
        outcome.retired[record.name] = build(project.parts(record))
    except ModelChangedError as error:
        outcome.problems.append(f"{record.name} is retired and cannot be kept fresh: {error}")


def _follow_each_bucket(project: Project, record: CollectionRecord, progress: Progress) -> list[str]:
    if project.store.describe(record.name) is None:
        return []
    build = project.parts(record).build()
    waiting, cause = list[str](), ""
    for bucket in build.stale_buckets(project.buckets):
        try:
            build.run([bucket], progress=progress)
        except ModelChangedError as error:
            waiting.append(bucket)
            cause = str(error)
    return [f"new texts in {len(waiting)} buckets of {record.name} have to wait: {cause}"] if waiting else []
