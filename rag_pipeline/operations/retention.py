"""Drops collections whose grace time is over, and the artifacts that only they needed."""

from rag_pipeline.indexing.collections import give_up_superseded, settle
from rag_pipeline.indexing.retention import Retained, drop_expired
from rag_pipeline.project import Project


def retain(project: Project) -> Retained:
    """What went and what stays. A collection behind an alias is never dropped."""
    with project.writer_lock():
        settle(project.ledger, project.store, alias=project.settings.alias)
        chosen = project.collections()
        wanted = {record.name for record in (chosen.target, chosen.candidate) if record is not None}
        give_up_superseded(project.ledger, alias=project.settings.alias, wanted=wanted)
        return drop_expired(
            project.ledger,
            project.store,
            project.artifacts,
            alias=project.settings.alias,
            spec=project.spec,
            now_ns=project.clock.now_ns(),
            grace_hours=project.settings.release.grace_hours,
        )
