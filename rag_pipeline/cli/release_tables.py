"""Answers of the commands around a second collection."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

from rag_pipeline.cli.dagster_run import RunResult
from rag_pipeline.cli.tables import describe_lanes, show_rows
from rag_pipeline.indexing.scan_report import count_of


def release_values(done: RunResult) -> dict[str, Any]:
    """The JSON of ``rag reindex``, ``rag release`` and ``rag rollback``."""
    built, released, gate = done.parts.get("reindex", {}), done.parts.get("release", {}), done.parts.get("gate", {})
    nothing = {"total": 0, "embedded": 0, "reused": 0}
    return {
        "candidate": built.get("candidate") or gate.get("collection"),
        "complete": built.get("complete", False),
        "parsed": built.get("parsed", 0),
        "chunks": built.get("chunks", nothing),
        "points": built.get("points", {"upserted": 0, "deleted": 0, "total": 0}),
        "seconds": built.get("seconds", {}),
        "lanes": built.get("lanes", {}),
        "gate": [{key: check[key] for key in ("name", "passed", "summary")} for check in gate.get("checks", [])],
        "live": released.get("collection"),
        "previous": released.get("previous"),
        "switched": released.get("switched", False),
        "reason": released.get("reason", ""),
        "problems": built.get("problems", []),
        "run_id": done.run_id,
        "failed": done.cause,
    }


def show_release(console: Console, values: Mapping[str, Any]) -> None:
    """What was built, judged and decided."""
    if values["candidate"] and values["points"]["total"]:
        chunks, points = values["chunks"], values["points"]
        console.print(
            f"{values['candidate']}: {count_of(chunks['total'], 'chunk')} ({chunks['embedded']} embedded now), "
            f"{count_of(points['total'], 'point')} (+{points['upserted']} -{points['deleted']}), "
            f"{count_of(values['parsed'], 'document')} parsed"
        )
        if values["lanes"]["bottleneck"]:
            console.print(describe_lanes(values["lanes"]))
    if values["gate"]:
        rows = [(check["name"], "passed" if check["passed"] else "refused", check["summary"]) for check in values["gate"]]
        show_rows(console, ["gate", "", "measured"], rows)
    if values["switched"]:
        console.print(f"[green]live: {values['live']}[/green] (before: {values['previous'] or 'nothing'})")
    elif values["live"]:
        console.print(f"live: {values['live']}; {escape(values['reason'])}")
    elif values["candidate"] and not values["complete"] and not values["failed"]:
        console.print("not every bucket is built; rag reindex builds the rest, judges and switches")
    for problem in values["problems"]:
        console.print(f"[yellow]{escape(problem)}[/yellow]")
