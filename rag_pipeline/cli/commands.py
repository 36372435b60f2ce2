"""The commands. Each builds the project, calls one thing, and shows its answer."""

import atexit
import gc
import time
from typing import Any

import click

from rag_pipeline import __version__
from rag_pipeline.cli import tables
from rag_pipeline.cli.frame import FAILED, FINE, WRONG_USE, Frame, say, shared_options
from rag_pipeline.indexing.scan_report import count_of

NEW_OBJECTS = 100_000
"""After which rubbish is looked for. Python's 700 cost an eighth of a start, spent on what imports make and keep."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--config", metavar="FILE", default=None, help="Settings file; default RAG_CONFIG or ./rag_pipeline.yaml.")
@click.option("--json", "is_json", is_flag=True, help="Answers as JSON, alone on standard output.")
@click.version_option(__version__, prog_name="rag")
@click.pass_context
def main(context: click.Context, config: str | None, is_json: bool) -> None:
    """Keeps a searchable Qdrant index in step with your documents.

    Exit codes: 0 fine, 1 findings or failed, 2 wrong use or settings.
    """
    gc.set_threshold(NEW_OBJECTS)
    atexit.register(gc.freeze)  # the process gives all memory back at once; Python would look through every object first
    context.obj = Frame(config=config, is_json=is_json)


@main.command()
@click.option("--approve-deletes", is_flag=True, help="Delete what the delete brake holds back.")
@click.option("--compare-all", is_flag=True, help="Compare every bucket with the store, also those known to be in step.")
@shared_options
def index(frame: Frame, approve_deletes: bool, compare_all: bool) -> int:
    """Bring the index in step with the documents."""
    from rag_pipeline.cli.dagster_run import run_index
    from rag_pipeline.indexing.reports import index_values

    started = time.perf_counter()
    project = frame.project()
    project.ledger  # noqa: B018 - a state that does not fit is a settings error, not a failed run
    _complete_erasures(project)
    done = run_index(project, approve_deletes=approve_deletes, compare_all=compare_all)
    values = {**index_values(done.parts, project.ledger, seconds=time.perf_counter() - started), "run_id": done.run_id}
    if frame.is_json:
        frame.answer({**values, "failed": done.cause})
    else:
        tables.show_index(frame.console, values)
    if done.cause is not None:
        say(f"error: {done.cause}")
        return FAILED
    change = project.collections()
    if change.candidate is not None:
        say(f"note: the settings ask for another index ({'; '.join(change.change.describe())}); see rag plan, then rag reindex")
    quarantined = values["documents"]["quarantined"]
    if quarantined:
        say(f"warning: {count_of(quarantined, 'document')} in quarantine; see rag quarantine list")
    return FINE


def _complete_erasures(project: Any) -> None:
    """What an erasure was cut off from comes before anything new is indexed. Where nothing was ever erased, nothing is loaded."""
    if not project.ledger.blocks():
        return
    from rag_pipeline.operations.erase import complete_unfinished

    try:
        done = complete_unfinished(project)
    finally:
        project.close()
    if done is not None:
        say("an erasure that was cut off is complete" if done.is_proven else "warning: an erasure is not proven; run rag erase")


@main.command()
@click.argument("question")
@click.option("--limit", "-n", type=click.IntRange(1, 1000), default=None, help="Hits to show.")
@click.option("--mode", type=click.Choice(["hybrid", "dense", "sparse"]), default="hybrid", show_default=True, help="Ranking.")
@click.option("--filter", "filters", multiple=True, metavar="KEY=VALUE", help="Payload filter, repeatable: source=handbook.")
@click.option(
    "--quoted", is_flag=True, help="Print the hits as a part of a prompt, quoted so that no document can speak for you."
)
@shared_options
def query(frame: Frame, question: str, limit: int | None, mode: str, filters: tuple[str, ...], quoted: bool) -> int:
    """Ask the live index a question."""
    if not question.strip():
        say("wrong use: the question is empty; put it in quotes after rag query")
        return WRONG_USE
    from rag_pipeline.retrieval.quoting import quote_hits

    parsed = _parse_filters(filters)
    project = frame.project()
    try:
        searcher = project.searcher()
        hits = searcher.search(question, mode=mode, limit=limit or project.settings.retrieval.limit, filters=parsed)  # type: ignore[arg-type]
    finally:
        project.close()
    if quoted:
        click.echo(quote_hits(hits))
    elif frame.is_json:
        frame.answer([tables.hit_values(hit) for hit in hits])
    else:
        tables.show_hits(frame.console, hits)
    return FINE


@main.command()
@shared_options
def status(frame: Frame) -> int:
    """What is live, what stands beside it, and how much it holds."""
    from rag_pipeline.operations.status import read_status

    project = frame.project()
    try:
        values = read_status(project)
    finally:
        project.close()
    if frame.is_json:
        frame.answer(values)
    else:
        tables.show_status(frame.console, values)
        if len(values["collections"]) > 1:
            tables.show_collections(frame.console, values["collections"])
    return FINE


@main.command()
@shared_options
def plan(frame: Frame) -> int:
    """What a run would do and why; touches nothing."""
    from rag_pipeline.cli.plan_tables import plan_values, show_plan
    from rag_pipeline.operations.plan import make_plan

    project = frame.project()
    try:
        values = plan_values(make_plan(project))
    finally:
        project.close()
    if frame.is_json:
        frame.answer(values)
    else:
        show_plan(frame.console, values)
    return FINE


@main.command()
@click.option("--repair", is_flag=True, help="Remove what is damaged and bring every bucket in step again.")
@shared_options
def fsck(frame: Frame, repair: bool) -> int:
    """Compare ledger, artifacts and every point."""
    report = _check(frame)
    repaired = False
    if repair and report.findings:
        _repair(frame, report)
        before, report, repaired = report, _check(frame), True
        say(f"{len(before.findings)} findings before the repair, {len(report.findings)} after it")
    values = tables.fsck_values(report, repaired=repaired)
    if frame.is_json:
        frame.answer(values)
    else:
        tables.show_fsck(frame.console, values)
    return FAILED if report.findings else FINE


def _check(frame: Frame) -> Any:
    from rag_pipeline.cli.progress import BarProgress

    project = frame.project()
    try:
        # Under the lock, or what a run is just writing would be taken for damage.
        with project.writer_lock(), BarProgress() as progress:
            return project.target_parts().fsck().check(project.buckets, progress)
    finally:
        project.close()


def _repair(frame: Frame, report: Any) -> None:
    from rag_pipeline.cli.dagster_run import run_index

    project = frame.project()
    try:
        with project.writer_lock():
            project.target_parts().fsck().repair(report)
    finally:
        project.close()
    done = run_index(project, approve_deletes=False, compare_all=True)
    if done.cause is not None:
        say(f"error: {done.cause}")


@main.command()
@shared_options
def doctor(frame: Frame) -> int:
    """Check the environment and say what to fix."""
    from rag_pipeline.cli.diagnosis import examine

    findings = examine(frame)
    if frame.is_json:
        frame.answer([{"name": f.name, "ok": f.is_ok, "detail": f.detail, "remedy": f.remedy} for f in findings])
    else:
        tables.show_doctor(frame.console, findings)
    if any(not f.is_ok and f.name == "settings" for f in findings):
        return WRONG_USE
    return FINE if all(f.is_ok for f in findings) else FAILED


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port on 127.0.0.1.")
@shared_options
def ui(frame: Frame, port: int) -> int:
    """Serve the Dagster web UI of this index on this machine."""
    from rag_pipeline.cli.dagster_run import serve_ui

    return serve_ui(frame.project(), config=frame.config, port=port)


def _parse_filters(filters: tuple[str, ...]) -> dict[str, Any] | None:
    parsed: dict[str, Any] = {}
    for text in filters:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise click.UsageError(f"--filter {text!r} is not KEY=VALUE, e.g. source=handbook or page=3")
        typed: Any = int(value) if key in ("page", "ordinal") and value.isdecimal() else value
        old = parsed.get(key)
        parsed[key] = typed if old is None else [*(old if isinstance(old, list) else [old]), typed]
    return parsed or None
