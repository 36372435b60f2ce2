"""Whether an index run would find anything to do, told before one is started."""

from rag_pipeline.indexing.build import BuildReport
from rag_pipeline.indexing.status import count_documents
from rag_pipeline.project import Project


def is_in_step(project: Project) -> bool:
    """Whether the sources are as the ledger says, and all that is served is as the ledger wants it. Writes nothing.

    Where it is False for any reason, an index run finds out what is to be done. The cheap questions come first.
    """
    chosen = project.collections()
    if chosen.live is None or project.store.metadata(chosen.live.name) is None:
        return False
    if not project.parts(chosen.live, chosen.target_spec).is_settled():
        return False
    followed = (record for record in chosen.retired if project.store.metadata(record.name) is not None)
    if any(project.parts(record).stale_buckets() for record in followed):
        return False
    if _is_quarantine_full(project):  # which fails every index run until something is done about it
        return False
    return not project.look_for_changes()


def _is_quarantine_full(project: Project) -> bool:
    counts = count_documents(project.ledger, project.target.name)
    return counts.quarantined_share > project.settings.quarantine.fail_share


def report_in_step(project: Project) -> BuildReport:
    """What a build would have reported that found every bucket in step."""
    states = project.ledger.bucket_states(project.target.name).values()
    points = sum(state.points for state in states)
    buckets = len(project.buckets)
    return BuildReport(
        buckets=buckets,
        in_step=buckets,
        points=points,
        chunks=points,
        quarantined=sum(state.quarantined for state in states),
    )
