"""What starts when the settings ask for another index, and when a candidate is built."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import dagster as dg

from rag_pipeline.defs.jobs import COLLECTION_TAG, INDEX_JOB, REINDEX_JOB, RELEASE_JOB, range_tags
from rag_pipeline.defs.release_assets import CANDIDATE
from rag_pipeline.defs.sensors import back_off, is_busy
from rag_pipeline.errors import RagPipelineError
from rag_pipeline.indexing.bucket_ranges import bucket_ranges
from rag_pipeline.indexing.collections import Collections
from rag_pipeline.indexing.identity import spec_fingerprint
from rag_pipeline.operations.reindex import is_reindex_paused
from rag_pipeline.project import Project
from rag_pipeline.schema import CollectionState

INTERVAL_S = 60


@dataclass(frozen=True, slots=True)
class _Look:
    """What a tick sees."""

    chosen: Collections
    asked: str
    """Fingerprint of the spec that the settings ask for."""
    is_paused: bool
    mode: str
    ranges: list[list[str]]
    """Buckets of the candidate that are not built, as runs share them; none where one run builds all."""


def make_release_sensors(project: Project, jobs: Mapping[str, Any]) -> list[dg.SensorDefinition]:
    """Both sensors. A tick that repeats, overlaps or is lost does no harm: each compares what is with what should be."""
    return [_index_spec_changes(project, jobs), _release_candidate(project, jobs)]


def _index_spec_changes(project: Project, jobs: Mapping[str, Any]) -> dg.SensorDefinition:
    @dg.sensor(
        name="index_spec_changes",
        jobs=[jobs[INDEX_JOB], jobs[REINDEX_JOB]],
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts a reindex when the settings, or a model's files, ask for another index than the live one.",
    )
    def index_spec_changes(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            now = _look(project)
        except RagPipelineError as error:
            return dg.SkipReason(f"could not look: {error}")
        reason = _no_reindex(now.chosen, is_paused=now.is_paused)
        if reason is not None:
            return dg.SkipReason(reason)
        reason = "; ".join(now.chosen.change.describe())
        if now.chosen.candidate is None:
            return _request(context, project, job=INDEX_JOB, asked=now.asked, reason=reason)
        return _request(context, project, job=REINDEX_JOB, asked=now.asked, reason=reason, ranges=now.ranges)

    return index_spec_changes


def _release_candidate(project: Project, jobs: Mapping[str, Any]) -> dg.SensorDefinition:
    @dg.sensor(
        name="release_candidate",
        job=jobs[RELEASE_JOB],
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts the release of a candidate that is built, as after a backfill of its buckets.",
    )
    def release_candidate(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            now = _look(project)
        except RagPipelineError as error:
            return dg.SkipReason(f"could not look: {error}")
        reason = _no_release(now.chosen, mode=now.mode)
        if reason is not None:
            return dg.SkipReason(reason)
        if is_busy(context.instance, REINDEX_JOB, _tag(project.settings.alias, REINDEX_JOB)):
            return dg.SkipReason("a reindex is on its way, and ends with the release itself")
        return _request(context, project, job=RELEASE_JOB, asked=now.asked, reason="the candidate is built")

    return release_candidate


def _look(project: Project) -> _Look:
    """The index and its settings as they are now: a code server lives longer than a settings file stays the same."""
    with closing(project.reloaded()) as now:
        chosen = now.collections()
        asked, mode = spec_fingerprint(now.spec), now.settings.release.mode
        return _Look(chosen, asked, is_reindex_paused(now), mode, _ranges(now, chosen))


def _ranges(project: Project, chosen: Collections) -> list[list[str]]:
    per_run = project.settings.buckets_per_run
    if chosen.candidate is None or per_run is None:
        return []
    missing = project.parts(chosen.candidate, project.spec).out_of_step()
    return bucket_ranges(project.buckets, per_run=per_run, wanted=missing)


def _no_reindex(chosen: Collections, *, is_paused: bool) -> str | None:
    if chosen.live is None:
        return "nothing is live yet; the index job makes the first collection"
    if not chosen.change:
        return "the live collection is what the settings ask for"
    if chosen.candidate is None:
        return None
    if chosen.refusal is not None:
        return f"these settings were refused: {chosen.refusal}; change them, or run rag reindex --force"
    if is_paused:
        return "the reindex is paused; rag reindex goes on"
    if chosen.candidate.state in (CollectionState.CAUGHT_UP, CollectionState.VALIDATED):
        return f"{chosen.candidate.name} is built; release_candidate takes it from here"
    return None


def _no_release(chosen: Collections, *, mode: str) -> str | None:
    candidate = chosen.candidate
    if candidate is None:
        return "no candidate is wanted"
    if chosen.refusal is not None:
        return f"{candidate.name} was refused: {chosen.refusal}"
    if candidate.state is CollectionState.VALIDATED and mode == "approval":
        return f"{candidate.name} passed the gate and waits for rag release --approve"
    if candidate.state in (CollectionState.CAUGHT_UP, CollectionState.VALIDATED):
        return None
    return f"{candidate.name} is {candidate.state}; not built yet"


def _request(
    context: dg.SensorEvaluationContext,
    project: Project,
    *,
    job: str,
    asked: str,
    reason: str,
    ranges: Sequence[list[str]] = (),
) -> dg.SensorResult | dg.SkipReason:
    """A run of the job, unless one is on its way or the same wish started one not long ago and it evidently failed.

    With ranges: a run for each, of the candidate alone. ``release_candidate`` follows when the last of them is done.
    """
    alias = project.settings.alias
    if is_busy(context.instance, job, _tag(alias, job)):
        return dg.SkipReason(f"a run of {job} is queued or running")
    memory, wait_s = back_off(json.loads(context.cursor or "{}"), asked=[job, asked], now_s=time.time())
    if wait_s:
        return dg.SkipReason(f"the last run of {job} did not help; trying again {wait_s} s after it")
    tags = {"rag_pipeline/reason": reason[:250], COLLECTION_TAG: _tag(alias, job)}
    requests = [_of_range(job, tags, names) for names in ranges] or [dg.RunRequest(job_name=job, tags=tags)]
    return dg.SensorResult(run_requests=requests, cursor=json.dumps(memory))


def _of_range(job: str, tags: Mapping[str, str], buckets: list[str]) -> dg.RunRequest:
    """A run of these buckets. Its tag is its own, so that the queue lets it run beside the others, and not beside itself."""
    own = {COLLECTION_TAG: f"{tags[COLLECTION_TAG]}:{buckets[0]}..{buckets[-1]}"}
    selection = [dg.AssetKey(CANDIDATE)]
    return dg.RunRequest(
        job_name=job, tags={**tags, **own, **range_tags(buckets)}, asset_selection=selection, asset_check_keys=[]
    )


def _tag(alias: str, job: str) -> str:
    return alias if job == INDEX_JOB else f"{alias}:candidate"
