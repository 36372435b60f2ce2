"""The whole store lost: the live collection again from ledger and artifacts, without sources, parser or model."""

from dataclasses import dataclass

from rag_pipeline.errors import ReleaseBlockedError
from rag_pipeline.indexing.collections import open_collection
from rag_pipeline.indexing.identity import spec_from_values
from rag_pipeline.indexing.release import finish, switch
from rag_pipeline.ports import Progress
from rag_pipeline.project import Project
from rag_pipeline.schema import CollectionRecord, CollectionState


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What stands again."""

    collection: str
    points: int
    seconds: float


def rebuild(project: Project, *, progress: Progress) -> Rebuilt:
    """The live collection, written again from the artifacts; nothing is parsed, cut or embedded.

    Raises ReleaseBlockedError when the ledger knows of no collection that was live.
    """
    with project.writer_lock():
        record = find_last_live(project)
        spec = spec_from_values(record.spec)
        parts = project.parts(record, spec)
        open_collection(project.ledger, project.store, record, spec)
        report = parts.build().run(project.buckets, stages=("collection",), only_stale=False, progress=progress)
        finish(project.ledger, project.store, record=record, spec=spec, out_of_step=0)
        if project.store.resolve_alias(record.alias) != record.name:
            switch(project.ledger, project.store, record=record, kind="rebuild", content={"reason": "rebuilt from artifacts"})
        return Rebuilt(record.name, report.points, report.seconds["collection"])


def find_last_live(project: Project) -> CollectionRecord:
    """The collection behind the alias, or where the store lost its aliases the one that the ledger remembers as live."""
    behind = project.store.resolve_alias(project.settings.alias)
    records = project.ledger.collections(project.settings.alias)
    found = next((r for r in records if r.name == behind), None)
    found = found or next((r for r in records if r.state is CollectionState.LIVE), None)
    if found is None:
        raise ReleaseBlockedError("the ledger knows of no collection that was live; run rag index to build one from the sources")
    return found
