"""Answers as JSON values and as tables for people."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rag_pipeline.indexing.fsck import FsckReport
from rag_pipeline.indexing.scan_report import count_of
from rag_pipeline.retrieval.quoting import heading_of
from rag_pipeline.schema import Hit, QuarantineEntry

SNIPPET_LENGTH = 400
SHOWN_ROWS = 40
NAME_WIDTH_MAX = 40
"""Characters of a collection's name that no narrow terminal breaks."""
REVISION_LENGTH = 8


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def show_rows(console: Console, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table of plain cells."""
    table = _table(*columns)
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    console.print(table)


def show_index(console: Console, values: Mapping[str, Any]) -> None:
    """The result of ``rag index``."""
    documents = values["documents"]
    show_rows(console, list(documents), [list(documents.values())])
    chunks, points, seconds = values["chunks"], values["points"], values["seconds"]
    console.print(
        f"{count_of(chunks['total'], 'chunk')} ({chunks['embedded']} embedded now, {chunks['reused']} reused), "
        f"{count_of(points['total'], 'point')} (+{points['upserted']} -{points['deleted']}) "
        f"in {values['collection'] or 'no collection'}, generation {values['generation']}, {seconds['total']:.1f} s"
    )
    if values["lanes"]["bottleneck"]:
        console.print(describe_lanes(values["lanes"]))
    for problem in values["problems"]:
        console.print(f"[yellow]{escape(problem)}[/yellow]")


def describe_lanes(lanes: Mapping[str, Any]) -> str:
    """How busy each stage was of the wall time of all, and which one was it the most: ``embeddings, 96% of 71.2 s``."""
    wall_s = lanes["wall_s"]
    shares = {stage: times["busy_s"] / wall_s for stage, times in lanes["stages"].items()}
    others = ", ".join(f"{stage} {share:.0%}" for stage, share in shares.items() if stage != lanes["bottleneck"])
    return f"busiest: {lanes['bottleneck']}, {shares[lanes['bottleneck']]:.0%} of {wall_s:.1f} s; {others}"


def hit_values(hit: Hit) -> dict[str, Any]:
    """One hit of ``rag query --json``."""
    payload = hit.payload
    return {
        "score": hit.score,
        "uri": payload.get("uri"),
        "uris": payload.get("uris") or [payload.get("uri")],
        "flags": payload.get("flags") or [],
        "stale": bool(payload.get("stale")),
        "page": payload.get("page"),
        "heading": heading_of(payload),
        "text": payload.get("text"),
        "document_id": payload.get("document_id"),
        "point_id": hit.id,
    }


def show_hits(console: Console, hits: Sequence[Hit]) -> None:
    """Hits with their sources."""
    if not hits:
        console.print("no hits; try other words, or --mode dense")
    for number, hit in enumerate(hits, 1):
        values = hit_values(hit)
        page = f", page {values['page']}" if values["page"] else ""
        console.print(f"[bold]{number}. {escape(str(values['uri']))}[/bold]{page}  [dim]{hit.score:.4f}[/dim]")
        for uri in values["uris"]:
            if uri != values["uri"]:
                console.print(f"   [dim]also at {escape(str(uri))}[/dim]")
        if values["stale"]:
            console.print("   [yellow]an older version: the newest one is in quarantine[/yellow]")
        if values["flags"]:
            console.print(f"   [yellow]{', '.join(values['flags'])}[/yellow]")
        if values["heading"]:
            console.print(f"   [cyan]{escape(values['heading'])}[/cyan]")
        text = " ".join(str(values["text"]).split())
        console.print(f"   {escape(text[:SNIPPET_LENGTH])}{'…' if len(text) > SNIPPET_LENGTH else ''}\n")


def show_status(console: Console, values: Mapping[str, Any]) -> None:
    """The result of ``rag status``."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _status_rows(values):
        table.add_row(escape(name), escape(str(value)))
    console.print(table)


def _status_rows(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "alias", values["alias"]
    yield "live", values["live"] or "nothing yet; run rag index"
    yield "candidate", values["candidate"] or "-"
    yield "retired", ", ".join(values["retired"]) or "-"
    copies = values["copies"]
    yield "documents", f"{values['documents']}, {copies} of them copies of others" if copies else values["documents"]
    yield "points", values["points"]
    yield "quarantined", values["quarantined"]
    yield "settings match", "yes" if values["settings_match"] else "no; see rag plan"
    yield from (("", line) for line in values["change"])
    if values["refusal"]:
        yield "refused", values["refusal"]
    if values["paused"]:
        yield "reindex", "paused; rag reindex goes on"
    for source in values["sources"]:
        yield f"source {source['name']}", f"{source['url']} ({count_of(source['documents'], 'document')})"


def show_collections(console: Console, collections: Sequence[Mapping[str, Any]]) -> None:
    """What stands beside the live collection, the gate's evidence for one that waits, and why the others ended."""
    table = _table("collection", "state", "points", "model")
    table.columns[0].no_wrap = all(len(row["name"]) <= NAME_WIDTH_MAX for row in collections)
    for row in collections:
        built = f", {count_of(row['buckets'], 'bucket')}" if row["state"] == "building" else ""
        cells = (row["name"], row["state"] + built, row["points"], short_model(row["model"]))
        table.add_row(*(escape(str(cell)) for cell in cells))
    console.print(table)
    for row in collections:
        if row["reason"]:
            console.print(f"{row['name']} is {row['state']}: {escape(row['reason'])}")
        if row["state"] == "validated" and row["gate"]:
            console.print(f"{row['name']} passed the gate:")
            show_rows(console, ["gate", "measured"], row["gate"].items())


def short_model(model: str) -> str:
    """The name by which people know a model: ``all-mpnet-base-v2@e8c3b32e`` for a hub id, the module for a package."""
    if model.startswith("package:"):
        return model.removeprefix("package:").split("/")[0]
    name, _, revision = model.partition("@")
    name = name.rstrip("/").rsplit("/", 1)[-1]
    return f"{name}@{revision[:REVISION_LENGTH]}" if revision else name


def fsck_values(report: FsckReport, *, repaired: bool) -> dict[str, Any]:
    """The JSON of ``rag fsck``."""
    return {
        "documents": report.documents,
        "quarantined": report.quarantined,
        "points": report.points,
        "repaired": repaired,
        "findings": [{"kind": f.kind, "subject": f.subject, "detail": f.detail} for f in report.findings],
    }


def show_fsck(console: Console, values: Mapping[str, Any]) -> None:
    """The result of ``rag fsck``."""
    findings = values["findings"]
    documents, points = count_of(values["documents"], "document"), count_of(values["points"], "point")
    compared = f"{documents} ({values['quarantined']} in quarantine) and {points} compared"
    if not findings:
        console.print(f"[green]clean[/green]: {compared}")
        return
    rows = [(f["kind"], f["subject"], f["detail"]) for f in findings[:SHOWN_ROWS]]
    show_rows(console, ["finding", "of", "detail"], rows)
    console.print(f"{count_of(len(findings), 'finding')}; {compared}; rag fsck --repair reconciles")


QUARANTINE_COLUMNS = ("path", "source", "document_id", "reason", "detail", "type", "content_hash", "attempts", "generation")


def quarantine_values(entry: QuarantineEntry) -> dict[str, Any]:
    """One row of ``rag quarantine list --json``."""
    return {
        "path": entry.path,
        "source": entry.source,
        "document_id": entry.document_id,
        "reason": entry.reason,
        "detail": entry.detail,
        "type": str(entry.type) if entry.type else None,
        "content_hash": entry.content_hash,
        "attempts": entry.attempts,
        "generation": entry.generation,
    }


def show_quarantine(console: Console, entries: Sequence[Mapping[str, Any]]) -> None:
    """The quarantine as a table."""
    if not entries:
        console.print("no document is in quarantine")
        return
    rows = [(e["source"], e["path"], e["reason"], e["detail"]) for e in entries]
    show_rows(console, ["source", "path", "reason", "detail"], rows)
    console.print("rag quarantine show PATH says what to do; mend a file and run rag index, or rag quarantine retry as it is")


def show_doctor(console: Console, findings: Sequence[Any]) -> None:
    """The environment's checks."""
    for finding in findings:
        mark = "[green]ok  [/green]" if finding.is_ok else "[red]fix [/red]"
        console.print(f"{mark} {finding.name}: {escape(finding.detail)}")
        if not finding.is_ok:
            console.print(f"     → {escape(finding.remedy)}")
