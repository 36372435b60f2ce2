"""What an index run and a reindex would do, and what a second collection would need."""

from dataclasses import dataclass
from typing import Any

from rag_pipeline.errors import SettingsError
from rag_pipeline.indexing.collections import Collections
from rag_pipeline.indexing.cost import Duration, Space, space_of
from rag_pipeline.indexing.plan import DryLedger, Plan
from rag_pipeline.indexing.reports import count_each_once, scan_values
from rag_pipeline.operations.gate import check_question_files
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.ports import Ledger
from rag_pipeline.project import Project
from rag_pipeline.schema import IndexSpec


@dataclass(frozen=True, slots=True)
class ReleasePlan:
    """What would be built beside the live collection."""

    collection: str
    plan: Plan
    duration: Duration
    space: Space
    free_bytes: int | None
    refusal: str | None
    blocked: str | None = None
    """Why a reindex would not start now."""


@dataclass(frozen=True, slots=True)
class WholePlan:
    """What ``rag index`` and ``rag reindex`` would do."""

    index: Plan
    documents: dict[str, int]
    """By what the scan found, each once: one that is in quarantine counts only there."""
    duration: Duration
    """Of the index run."""
    space: Space
    """Of what the index then holds."""
    changes: list[str]
    """Lines that say which stages rerun for which documents."""
    is_in_place: bool
    release: ReleasePlan | None
    tokens_per_s: float | None
    rate_of: str
    """Where the rate comes from."""


def make_plan(project: Project) -> WholePlan:
    """What would be done and why. Sources are scanned, stored documents cut; nothing is written."""
    ledger: Any = DryLedger(project.ledger)
    scan = project.scan(approve_deletes=False, progress=SILENT, ledger=ledger)
    chosen = project.collections()
    spec = project.spec if chosen.candidate else chosen.target_spec
    rate, rate_of = _rate(project, spec, chosen)
    index = _plan_of(project, ledger, chosen, chosen.target_spec, is_candidate=False)
    index.scan = scan
    dimension = chosen.target_spec.vector_space.dimension
    return WholePlan(
        index=index,
        documents=count_each_once(scan_values(scan), ledger),
        duration=index.duration(rate, dimension),
        space=_space_after(project, index, chosen.target.name, dimension),
        changes=chosen.change.describe(),
        is_in_place=bool(chosen.change) and chosen.candidate is None,
        release=_plan_release(project, ledger, chosen, rate),
        tokens_per_s=rate,
        rate_of=rate_of,
    )


def estimate_space(project: Project, chosen: Collections) -> Space:
    """What the candidate still needs, by the number of points that are live now and those that it has already."""
    live = _points(project, chosen.live.name if chosen.live else chosen.target.name)
    begun = _points(project, chosen.candidate.name) if chosen.candidate else 0
    return _space(project, live - begun, project.spec.vector_space.dimension)


def space_problem(project: Project, space: Space) -> str | None:
    """Why the second collection does not fit, or None; a server does not tell what is free there."""
    free, needed = project.store.free_bytes(), space.disk_bytes
    floor = project.settings.release.min_free_gb * 2**30
    if free is None or free - needed >= floor:
        return None
    return (
        f"the second collection needs about {needed / 2**30:.2f} GiB and {floor / 2**30:.2f} GiB must stay free, but "
        f"{free / 2**30:.2f} GiB are free; free some space, or lower release.min_free_gb"
    )


def _points(project: Project, collection: str) -> int:
    return sum(state.points for state in project.ledger.bucket_states(collection).values())


def _plan_of(project: Project, ledger: Ledger, chosen: Collections, spec: IndexSpec, *, is_candidate: bool) -> Plan:
    record = chosen.candidate if is_candidate and chosen.candidate else chosen.target
    parts = project.parts(record, spec, ledger)
    return parts.planner().plan(parts.build().stale_buckets(project.buckets))


def _space_after(project: Project, plan: Plan, collection: str, dimension: int) -> Space:
    """Of the collection once the plan is done."""
    return _space(project, _points(project, collection) + plan.upsert - plan.delete, dimension)


def _space(project: Project, points: int, dimension: int) -> Space:
    return space_of(max(0, points), dimension, indexes_on_disk=project.settings.store.indexes_on_disk)


def _plan_release(project: Project, ledger: Ledger, chosen: Collections, rate: float | None) -> ReleasePlan | None:
    if chosen.candidate is None:
        return None
    plan = _plan_of(project, ledger, chosen, project.spec, is_candidate=True)
    name, dimension = chosen.candidate.name, project.spec.vector_space.dimension
    space = _space_after(project, plan, name, dimension)
    duration = plan.duration(rate, dimension)
    blocked = space_problem(project, space) or _question_problem(project)
    return ReleasePlan(name, plan, duration, space, project.store.free_bytes(), chosen.refusal, blocked)


def _question_problem(project: Project) -> str | None:
    try:
        check_question_files(project)
    except SettingsError as error:
        return str(error)
    return None


def _rate(project: Project, spec: IndexSpec, chosen: Collections) -> tuple[float | None, str]:
    """The measured rate of this model; else that of the model in use, in proportion to the size of both models' weights."""
    rate = project.tokens_per_s(spec)
    if rate is not None:
        return rate, f"measured with {spec.vector_space.model}"
    known = project.tokens_per_s(chosen.target_spec)
    if known is None:
        return None, "assumed, none measured yet"
    own, other = (_weights_bytes(project, one) for one in (spec, chosen.target_spec))
    share = min(1.0, other / own) if own and other else 1.0
    return known * share, f"guessed from {chosen.target_spec.vector_space.model} and the size of the weights"


def _weights_bytes(project: Project, spec: IndexSpec) -> int:
    try:
        return project.models.facts(spec.vector_space.model).weights_bytes
    except SettingsError:
        return 0
