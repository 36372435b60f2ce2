"""Commands around a second collection: build it, release it, go back, and write a lost store again."""

import os
from typing import Any

import click

from rag_pipeline.cli import release_tables
from rag_pipeline.cli.commands import main
from rag_pipeline.cli.frame import FAILED, FINE, Frame, say, shared_options
from rag_pipeline.cli.progress import BarProgress
from rag_pipeline.indexing.reports import find_refusal
from rag_pipeline.project import Project


@main.command()
@click.option("--buckets", metavar="FIRST..LAST", default=None, help="Only these buckets of the candidate, e.g. 00..03.")
@click.option("--force", is_flag=True, help="Build settings that were refused before.")
@click.option("--pause", is_flag=True, help="Ask a running reindex to stop after its batch; rag reindex goes on from there.")
@shared_options
def reindex(frame: Frame, buckets: str | None, force: bool, pause: bool) -> int:
    """Build what the settings ask for beside the live index, judge it, and switch to it.

    Ends with the switch, or with the reasons for a refusal and exit code 1. May be interrupted at any time: the next one goes on.
    """
    from rag_pipeline.operations.reindex import pause_reindex

    if pause and (force or buckets is not None):
        raise click.UsageError("--pause stands alone; --force and --buckets belong to the rag reindex that goes on")
    project = frame.project()
    pause_reindex(project, is_paused=pause)
    if pause:
        say("asked: a running reindex stops after its batch, and no sensor starts one; rag reindex goes on")
        if frame.is_json:
            frame.answer({"paused": True})
        return FINE
    names = _bucket_range(project, buckets)
    if names is not None:
        return _run(frame, project, "reindex", {"candidate_collection": {"config": {"force": force}}}, buckets=names)
    return _run(frame, project, "reindex", {"candidate_collection": {"config": {"force": force}}})


@main.command()
@click.option("--approve", is_flag=True, help="Agree to the switch, where release.mode is approval.")
@shared_options
def release(frame: Frame, approve: bool) -> int:
    """Switch to a candidate that is built, if it passes the gate."""
    return _run(frame, frame.project(), "release", {"live_collection": {"config": {"approve": approve}}})


@main.command()
@click.option("--reason", default="asked for by hand", show_default=True, help="Written down with the decision.")
@shared_options
def rollback(frame: Frame, reason: str) -> int:
    """Go back to the index that was live before; it has been kept fresh."""
    who = f"{reason} ({os.environ['USER']})" if os.environ.get("USER") else reason
    return _run(frame, frame.project(), "rollback", {"go_back": {"config": {"reason": who}}})


@main.command()
@shared_options
def rebuild(frame: Frame) -> int:
    """Write a lost store again from ledger and artifacts, without sources, parser or model."""
    from rag_pipeline.operations.rebuild import rebuild as write_again
    from rag_pipeline.settings import load_settings

    project = Project(load_settings(frame.config), on_wait=say)
    try:
        with BarProgress() as progress:
            done = write_again(project, progress=progress)
    finally:
        project.close()
    values = {"collection": done.collection, "points": done.points, "seconds": round(done.seconds, 2)}
    if frame.is_json:
        frame.answer(values)
    else:
        frame.console.print(
            f"{done.points} points of {done.collection} written again in {done.seconds:.1f} s; rag fsck checks them"
        )
    return FINE


def _run(frame: Frame, project: Project, job: str, ops: dict[str, Any], *, buckets: list[str] | None = None) -> int:
    """Runs the job, shows what was decided; 1 with the reasons when it failed."""
    from rag_pipeline.cli.dagster_run import run_job

    project.ledger  # noqa: B018 - a state that does not fit is a settings error, not a failed run
    tags = {}
    if buckets is not None:
        from rag_pipeline.defs.jobs import range_tags

        tags = range_tags(buckets)
    assets = ["candidate_collection"] if buckets is not None else []
    done = run_job(project, job, ops, assets=assets, tags=tags)
    values = release_tables.release_values(done)
    if frame.is_json:
        frame.answer(values)
    else:
        release_tables.show_release(frame.console, values)
    if done.cause is not None:
        say(f"error: {find_refusal(done.parts) or done.cause}")
        return FAILED
    return FINE


def _bucket_range(project: Project, text: str | None) -> list[str] | None:
    """The buckets of ``00..03`` or ``07``; None for all."""
    if text is None:
        return None
    first, _, last = text.partition("..")
    names = project.buckets
    if first not in names or (last or first) not in names or first > (last or first):
        raise click.UsageError(f"--buckets {text!r} is not a range such as {names[0]}..{names[len(names) // 4]}")
    return [name for name in names if first <= name <= (last or first)]
