"""The answer of ``rag plan``."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

from rag_pipeline.cli.tables import show_rows
from rag_pipeline.indexing.cost import ASSUMED_TOKENS_PER_S, Duration, Space
from rag_pipeline.indexing.plan import Plan
from rag_pipeline.indexing.scan_report import count_of
from rag_pipeline.operations.plan import ReleasePlan, WholePlan

MIB = 2**20
_IN_THE_WORK_LINE = ("parse", "chunk")


def plan_values(whole: WholePlan) -> dict[str, Any]:
    """The JSON: what ``rag index`` would do, and under ``release`` what ``rag reindex`` would."""
    scan = whole.index.scan
    return {
        **_work(whole.index, whole.duration),
        **_space(whole.space),
        "documents": {**whole.documents, "parse": whole.index.parse, "chunk": whole.index.chunk},
        "tokens_per_s": whole.tokens_per_s or ASSUMED_TOKENS_PER_S,
        "is_rate_measured": whole.tokens_per_s is not None,
        "rate_of": whole.rate_of,
        "changes": whole.changes,
        "strategy": "candidate" if whole.release else "in_place" if whole.is_in_place else None,
        "release": _release_values(whole.release) if whole.release else None,
        "problems": [str(error) for error in scan.errors] if scan else [],
    }


def show_plan(console: Console, values: Mapping[str, Any]) -> None:
    """What would be done, for people."""
    counts = {name: number for name, number in values["documents"].items() if name not in _IN_THE_WORK_LINE}
    show_rows(console, list(counts), [list(counts.values())])
    for line in values["changes"]:
        console.print(f"settings changed: {escape(line)}")
    if not values["buckets"]:
        console.print("rag index has nothing to do: the live index is in step")
    else:
        console.print(f"rag index: {_work_line(values, values)}")
        console.print(f"  the index then needs about {_space_line(values)}")
    _show_reasons(console, values)
    if values["release"]:
        _show_release(console, values["release"], values)
    for problem in values["problems"]:
        console.print(f"[yellow]{escape(problem)}[/yellow]")


def _work(plan: Plan, duration: Duration) -> dict[str, Any]:
    return {
        "documents": {"parse": plan.parse, "chunk": plan.chunk},
        "chunks": {"embed": plan.embed},
        "points": {"upsert": plan.upsert, "delete": plan.delete},
        "tokens": plan.tokens,
        "minutes": round(duration.total_s / 60, 2),
        "minutes_by_stage": {
            "embed": round(duration.embed_s / 60, 2),
            "upsert": round(duration.upsert_s / 60, 2),
            "graph": round(duration.graph_s / 60, 2),
        },
        "is_estimate": plan.is_estimate,
        "buckets": plan.buckets,
        "reasons": dict(plan.reasons.most_common()),
    }


def _space(space: Space) -> dict[str, Any]:
    return {"store_memory_mb": round(space.memory_bytes / MIB, 1), "disk_mb": round(space.disk_bytes / MIB, 1)}


def _release_values(release: ReleasePlan) -> dict[str, Any]:
    return {
        "collection": release.collection,
        **_work(release.plan, release.duration),
        **_space(release.space),
        "free_mb": round(release.free_bytes / MIB, 1) if release.free_bytes is not None else None,
        "refusal": release.refusal,
        "blocked": release.blocked,
    }


def _work_line(work: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    about = "about " if work["is_estimate"] else ""
    return (
        f"{count_of(work['documents']['parse'], 'document')} to parse, {work['documents']['chunk']} to cut, "
        f"{about}{count_of(work['chunks']['embed'], 'chunk')} to embed, {about}{work['tokens']} tokens: "
        f"{work['minutes']} minutes at {values['tokens_per_s']:.0f} tokens/s ({values['rate_of']}); "
        f"+{work['points']['upsert']} -{work['points']['delete']} points in {count_of(work['buckets'], 'bucket')}"
    )


def _space_line(values: Mapping[str, Any]) -> str:
    return f"{values['disk_mb']:.0f} MiB of disk and {values['store_memory_mb']:.0f} MiB of the store's memory"


def _show_release(console: Console, release: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    console.print(f"rag reindex builds {release['collection']} beside the live index: {_work_line(release, values)}")
    free = f"{release['free_mb']:.0f} MiB are free" if release["free_mb"] is not None else "the server does not tell what is free"
    console.print(f"  it needs about {_space_line(release)}; {free}")
    _show_reasons(console, release)
    if release["refusal"]:
        console.print(f"[yellow]refused before: {escape(release['refusal'])}; rag reindex --force builds it again[/yellow]")
    if release["blocked"]:
        console.print(f"[yellow]rag reindex would not start: {escape(release['blocked'])}[/yellow]")


def _show_reasons(console: Console, work: Mapping[str, Any]) -> None:
    for reason, number in work["reasons"].items():
        console.print(f"  {number} x {reason}")
