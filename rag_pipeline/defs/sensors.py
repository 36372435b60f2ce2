"""What starts when something changes, and who is told when a run fails."""

import json
import time
from typing import Any

import dagster as dg

from rag_pipeline.adapters.folder_watcher import FolderWatcher
from rag_pipeline.adapters.webhook import post_message
from rag_pipeline.defs.failures import cause_of
from rag_pipeline.defs.jobs import COLLECTION_TAG, INDEX_JOB
from rag_pipeline.errors import RagPipelineError
from rag_pipeline.indexing.reports import find_refusal
from rag_pipeline.indexing.scan_report import count_of
from rag_pipeline.project import Project

FULL_LOOK_S = 300
"""Seconds after which the sources are looked at even without a hint: events get lost."""
BACK_OFF_S = (0, 60, 300, 900, 3600)
"""Seconds to wait before the same changes start another run after one that failed."""
MATERIALISING = "__ASSET_JOB"
"""Dagster's name for runs of assets that somebody chose in the UI, or that a backfill did."""
BUSY = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]


def make_sensors(project: Project, job: Any) -> list[dg.SensorDefinition]:
    """The sensors of one index."""
    return [_source_changes(project, job), _failed_runs(project)]


def _source_changes(project: Project, job: Any) -> dg.SensorDefinition:
    watched = _Watched(project)

    @dg.sensor(
        name="source_changes",
        job=job,
        minimum_interval_seconds=project.settings.schedule.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts the index job when a source changed: file events are hints, a stat scan is the truth.",
    )
    def source_changes(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        memory = json.loads(context.cursor or "{}")
        now_s = time.time()
        try:
            now = watched.refresh()
        except RagPipelineError as error:
            return dg.SkipReason(f"could not look: {error}")
        is_recent = abs(now_s - memory.get("looked_s", 0)) < FULL_LOOK_S  # a clock may have been set back
        if not watched.watcher.changed() and is_recent and not memory.get("pending"):
            return dg.SkipReason("no file event since the last look")
        if is_busy(context.instance, INDEX_JOB, project.settings.alias):
            context.update_cursor(json.dumps({**memory, "pending": True}))
            return dg.SkipReason("an index run is queued or running; looking again after it")
        try:
            changes = now.look_for_changes()
            reasons = changes.reasons or _left_behind(now, context.instance)
        except RagPipelineError as error:
            context.update_cursor(json.dumps({**memory, "pending": True}))
            return dg.SkipReason(f"could not look: {error}")
        if not reasons:
            context.update_cursor(json.dumps({"looked_s": now_s}))
            return dg.SkipReason(f"{changes.files} files, nothing changed")
        return _request(now, memory, reasons, now_s)

    return source_changes


class _Watched:
    """The project as its settings are now, and the watcher of its folders: a code server outlives both."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.watcher = FolderWatcher(project.local_roots)

    def refresh(self) -> Project:
        """The project, its folders watched. Raises SettingsError for settings that make none."""
        now = self.project.refreshed()
        if now is not self.project:
            self.watcher.stop()
            self.project, self.watcher = now, FolderWatcher(now.local_roots)
        self.watcher.start()
        return now


def _left_behind(project: Project, instance: dg.DagsterInstance) -> tuple[str, ...]:
    """Why to run although the sources are as the ledger says: a run noted them and then failed, or did some stages alone."""
    if instance.get_runs_count(dg.RunsFilter(job_name=MATERIALISING, statuses=BUSY)):
        return ()  # somebody is at it, bucket by bucket
    chosen = project.collections()
    missing = project.parts(chosen.target, chosen.target_spec).out_of_step() if project.ledger.generation() else []
    return (f"{count_of(len(missing), 'bucket')} not in step",) if missing else ()


def _request(project: Project, memory: dict[str, Any], reasons: tuple[str, ...], now_s: float) -> dg.SensorResult | dg.SkipReason:
    """A run, unless the same changes at the same generation started one not long ago and it evidently failed."""
    cursor, wait_s = back_off(memory, asked=[project.ledger.generation(), *reasons], now_s=now_s)
    if wait_s:
        return dg.SkipReason(f"the last run for these changes did not help; trying again {wait_s} s after it")
    request = dg.RunRequest(tags={"rag_pipeline/reason": "; ".join(reasons)[:250]})
    return dg.SensorResult(run_requests=[request], cursor=json.dumps({**cursor, "looked_s": now_s, "pending": True}))


def back_off(memory: dict[str, Any], *, asked: list[Any], now_s: float) -> tuple[dict[str, Any], int]:
    """What to remember of asking for this now, and the seconds to wait instead, counted from the last try; 0 for none."""
    tries = memory.get("tries", 0) if memory.get("asked") == asked else 0
    wait_s = BACK_OFF_S[min(tries, len(BACK_OFF_S) - 1)]
    must_wait = tries > 0 and abs(now_s - memory.get("requested_s", 0)) < wait_s
    return {"asked": asked, "tries": tries + 1, "requested_s": now_s}, wait_s if must_wait else 0


def is_busy(instance: dg.DagsterInstance, job: str, tag: str) -> bool:
    """Whether a run of the job is queued or running for this index, or for some of its buckets."""
    runs = instance.get_runs(dg.RunsFilter(job_name=job, statuses=BUSY))
    return any(f"{run.tags.get(COLLECTION_TAG)}:".startswith(f"{tag}:") for run in runs)


def _failed_runs(project: Project) -> dg.SensorDefinition:
    @dg.run_failure_sensor(
        name="failed_runs",
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Posts each failed run to RAG_WEBHOOK_URL, if that is set.",
    )
    def failed_runs(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        url = project.settings.secret("RAG_WEBHOOK_URL")
        if url is None:
            return dg.SkipReason("RAG_WEBHOOK_URL is not set")
        run = context.dagster_run
        cause = find_refusal(project.ledger.report(run.run_id)) or _cause(context)
        post_message(url, f"rag-pipeline: run {run.run_id} of job {run.job_name} failed: {cause}")
        return None

    return failed_runs


def _cause(context: dg.RunFailureSensorContext) -> str:
    """First line of what failed; our messages hold no text of documents and no secrets."""
    cause = cause_of(context.get_step_failure_events())
    return cause.splitlines()[0] if cause else context.failure_event.message or "see the run in the web UI"
