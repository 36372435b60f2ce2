"""Whether a candidate may go live: everything stored is compared, and what it finds is compared with what live finds."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from rag_pipeline.errors import ModelChangedError, RagPipelineError, SettingsError
from rag_pipeline.evaluation.gate_checks import check_canaries, check_latency, check_neighbours, check_retrieval
from rag_pipeline.evaluation.golden_set import Question, known_items, load_questions, unknown_names
from rag_pipeline.indexing.fsck import FsckReport
from rag_pipeline.indexing.identity import fingerprint, spec_from_values
from rag_pipeline.indexing.release import content_digest, gate_values
from rag_pipeline.ports import Progress
from rag_pipeline.project import Project
from rag_pipeline.schema import CollectionRecord, GateCheck, GateReport, Hit, IndexSpec

GATE = "gate"
QUESTIONS_STAGE = "questions"
SHOWN_FINDINGS = 20
KNOWN_ITEMS = 60
PROBES = 30
NEIGHBOURS = 10
PROBE_LENGTH = 200
"""Characters: far below the window of any model."""

Search = Callable[[str], list[Hit]]


def judge(
    project: Project, candidate: CollectionRecord, spec: IndexSpec, live: CollectionRecord | None, progress: Progress
) -> GateReport:
    """What the gate says of this content of the candidate; written down.

    Of content that passed once everything stored is compared again, since days may lie between, but no question is asked again.
    """
    digest = fingerprint(
        {"content": content_digest(project.ledger, candidate.name), "by": _criteria(project), "live": _name(live)}
    )
    known = find_verdict(project, candidate.name)
    doubts = check_question_files(project)
    checks = [_check_everything(project, candidate, spec, progress)]
    if checks[0].passed and known is not None and known.content_digest == digest and known.passed:
        return known
    if checks[0].passed:  # what is not even there cannot be searched
        checks += (_with_doubts(check, doubts) for check in _check_answers(project, candidate, live, progress))
    report = GateReport(candidate.name, _name(live), digest, tuple(checks))
    project.ledger.add_decision(GATE, gate_values(report))
    return report


def find_verdict(project: Project, collection: str) -> GateReport | None:
    """The newest report of a gate on this collection."""
    for decision in project.ledger.decisions(kind=GATE, limit=50):
        values = decision.content
        if values.get("collection") == collection:
            checks = tuple(GateCheck(**check) for check in values["checks"])
            return GateReport(collection, values.get("live"), values["content_digest"], checks)
    return None


def check_whole(project: Project, record: CollectionRecord, spec: IndexSpec, *, is_live: bool, progress: Progress) -> FsckReport:
    """The fsck of one collection under its spec."""
    return project.parts(record, spec).fsck(is_live=is_live).check(project.buckets, progress)


def check_retired(project: Project, retired: Sequence[CollectionRecord], progress: Progress) -> list[str]:
    """What is wrong with the ways back, a line each: a rollback must not be the moment in which that shows."""
    lines = []
    for record in retired:
        if project.store.describe(record.name) is None:
            continue
        found = check_whole(project, record, spec_from_values(record.spec), is_live=False, progress=progress).by_kind()
        kinds = ", ".join(f"{number} {kind}" for kind, number in found.items())
        if kinds:
            lines.append(f"{record.name}, which is kept for a rollback, has findings: {kinds}")
    return lines


def load_golden_set(project: Project) -> list[Question]:
    """Questions that measure an index; empty where none are set. Raises SettingsError for a file that is no such thing."""
    return _load(project, project.settings.release.golden_set)


def load_canaries(project: Project) -> list[Question]:
    """Questions whose documents must be found; empty where none are set. Raises as ``load_golden_set`` does."""
    return _load(project, project.settings.release.canaries)


def check_question_files(project: Project) -> list[str]:
    """What is doubtful about the files of questions: names of documents that are not indexed.

    Raises SettingsError for a file that cannot be used, or a golden set about other documents altogether: before a candidate is
    built for hours, not after it. A canary whose document is gone is what canaries are for: the gate tells.
    """
    golden = load_golden_set(project)
    measured, unknown = _unknown_names(project, golden), _unknown_names(project, load_canaries(project))
    if golden and measured == list(dict.fromkeys(name for question in golden for name in question.relevant)):
        raise SettingsError(
            f"release.golden_set: none of the {len(measured)} documents that its questions name is indexed, such as "
            f"{measured[0]}; take questions about these documents, or name documents by the end of their uri"
        )
    found = {"release.golden_set": measured, "release.canaries": unknown}
    return [
        f"{setting}: {len(names)} of the documents that its questions name are not indexed, such as {names[0]}"
        for setting, names in found.items()
        if names
    ]


def _load(project: Project, path: str | None) -> list[Question]:
    return load_questions(Path(project.settings.resolve(path))) if path else []


def _unknown_names(project: Project, questions: list[Question]) -> list[str]:
    """Names of documents in questions that no document of the ledger has; none before the first scan."""
    documents = project.ledger.documents().values() if questions else []
    places = [place for document in documents for place in (document.uri, document.path)]
    return unknown_names(questions, places) if places else []


def search_by(project: Project, collection: str) -> Search:
    """Searches one physical collection, with its own model, as a reader's question would."""
    searcher, limit = project.searcher(), project.settings.release.limit

    def search(question: str) -> list[Hit]:
        project.store.let_others_in()
        return searcher.search_in(collection, question, limit=limit)

    return search


def _check_everything(project: Project, candidate: CollectionRecord, spec: IndexSpec, progress: Progress) -> GateCheck:
    try:
        report = check_whole(project, candidate, spec, is_live=False, progress=progress)
    except RagPipelineError as error:
        return GateCheck("fsck", False, f"{candidate.name} cannot be read: {error}", {})
    kinds = ", ".join(f"{number} {kind}" for kind, number in report.by_kind().items())
    summary = f"{len(report.findings)} findings ({kinds}), 0 allowed" if kinds else f"{report.points} points equal the artifacts"
    shown = [{"kind": f.kind, "subject": f.subject, "detail": f.detail} for f in report.findings[:SHOWN_FINDINGS]]
    evidence: dict[str, Any] = {
        "documents": report.documents,
        "points": report.points,
        "findings": report.by_kind(),
        "first": shown,
    }
    return GateCheck("fsck", not report.findings, summary, evidence)


def _check_answers(
    project: Project, candidate: CollectionRecord, live: CollectionRecord | None, progress: Progress
) -> Iterator[GateCheck]:
    limits = project.settings.release
    live = live if live is not None and _has_its_model(project, live) else None
    new, old = search_by(project, candidate.name), search_by(project, live.name) if live else None
    questions, is_weak = _questions(project, candidate.name)
    progress.extend(QUESTIONS_STAGE, len(questions) * (1 if old is None else 2))
    yield check_retrieval(
        questions,
        _told(new, progress),
        old and _told(old, progress),
        limit=limits.limit,
        max_drop=limits.max_drop,
        min_recall=limits.min_recall,
        is_weak=is_weak,
    )
    if live is not None and old is not None:
        yield check_latency(questions, new, old, factor=limits.latency_factor, ok_ms=limits.latency_ok_ms)
    yield check_canaries(load_canaries(project), new, limit=limits.limit)
    if is_weak and live is not None:
        yield _check_neighbours(project, candidate.name, live.name)


def _told(search: Search, progress: Progress) -> Search:
    """The search, each question of it shown as done."""

    def search_and_tell(question: str) -> list[Hit]:
        hits = search(question)
        progress.advance(QUESTIONS_STAGE)
        return hits

    return search_and_tell


def _with_doubts(check: GateCheck, doubts: list[str]) -> GateCheck:
    """The check of retrieval says which of its documents are not there; they count as not found."""
    if check.name != "retrieval" or not doubts:
        return check
    return replace(check, summary="; ".join([check.summary, *doubts]), evidence={**check.evidence, "doubts": doubts})


def _has_its_model(project: Project, record: CollectionRecord) -> bool:
    """Whether the collection can be asked at all. One whose model is gone gives nothing to compare with."""
    try:
        project.models.embedder(spec_from_values(record.spec).vector_space)
    except ModelChangedError:
        return False
    return True


def _questions(project: Project, collection: str) -> tuple[list[Question], bool]:
    """The golden set, or questions made from headings, and whether they are only that."""
    golden = load_golden_set(project)
    if golden:
        return golden, False
    return known_items((point.payload for point in project.store.scroll(collection)), limit=KNOWN_ITEMS), True


def _check_neighbours(project: Project, candidate: str, live: str) -> GateCheck:
    """Compares what stands near the same texts in both collections."""
    texts = [str(point.payload.get("text", ""))[:PROBE_LENGTH] for point in islice(project.store.scroll(candidate), PROBES)]
    return check_neighbours(
        texts, _neighbours(project, candidate), _neighbours(project, live), min_overlap=project.settings.release.min_overlap
    )


def _neighbours(project: Project, collection: str) -> Callable[[str], set[str]]:
    """Documents near a text, by meaning alone."""
    searcher = project.searcher()

    def near(text: str) -> set[str]:
        hits = searcher.search_in(collection, text, mode="dense", limit=NEIGHBOURS)
        return {str(hit.payload.get("document_id")) for hit in hits}

    return near


def _criteria(project: Project) -> dict[str, Any]:
    """What else decides a verdict: other questions or limits judge anew."""
    limits = project.settings.release
    files = [project.settings.resolve(path) for path in (limits.golden_set, limits.canaries) if path]
    contents = [fingerprint(Path(file).read_bytes().hex()) for file in files if Path(file).exists()]
    return {
        "limits": limits.model_dump(mode="json", exclude={"mode", "grace_hours"}),
        "ranking": project.settings.retrieval.model_dump(mode="json"),
        "files": contents,
    }


def _name(record: CollectionRecord | None) -> str | None:
    return record.name if record else None
