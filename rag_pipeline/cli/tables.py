"""Answers as JSON values and as tables for people."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rag_pipeline.indexing.fsck import FsckReport
from rag_pipeline.schema import Hit, QuarantineEntry

SNIPPET_LENGTH = 400
SHOWN_ROWS = 40


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
        f"{chunks['total']} chunks ({chunks['embedded']} embedded now, {chunks['reused']} reused), "
        f"{points['total']} points (+{points['upserted']} -{points['deleted']}) in {values['collection'] or 'no collection'}, "
        f"generation {values['generation']}, {seconds['total']:.1f} s"
    )
    for problem in values["problems"]:
        console.print(f"[yellow]{escape(problem)}[/yellow]")


def hit_values(hit: Hit) -> dict[str, Any]:
    """One hit of ``rag query --json``."""
    payload = hit.payload
    return {
        "score": hit.score,
        "uri": payload.get("uri"),
        "page": payload.get("page"),
        "heading": " > ".join(payload.get("heading_path") or []) or payload.get("title") or None,
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
        if values["heading"]:
            console.print(f"   [cyan]{escape(values['heading'])}[/cyan]")
        text = " ".join(str(values["text"]).split())
        console.print(f"   {escape(text[:SNIPPET_LENGTH])}{'…' if len(text) > SNIPPET_LENGTH else ''}\n")


def show_status(console: Console, values: Mapping[str, Any]) -> None:
    """The result of ``rag status``."""
    show_rows(
        console,
        ["", ""],
        [
            ("alias", values["alias"]),
            ("live", values["live"] or "nothing yet; run rag index"),
            ("candidate", values["candidate"] or "-"),
            ("retired", ", ".join(values["retired"]) or "-"),
            ("documents", values["documents"]),
            ("points", values["points"]),
            ("quarantined", values["quarantined"]),
            ("settings match", "yes" if values["settings_match"] else "no; see rag plan"),
            *((("", line),) if (line := "; ".join(values["change"])) else ()),
            *((("refused", values["refusal"]),) if values["refusal"] else ()),
            *((("reindex", "paused; rag reindex goes on"),) if values["paused"] else ()),
            *((f"source {source['name']}", f"{source['url']} ({source['documents']} documents)") for source in values["sources"]),
        ],
    )


def show_collections(console: Console, collections: Sequence[Mapping[str, Any]]) -> None:
    """What stands beside the live collection."""
    columns = ("name", "state", "model", "points", "buckets", "reason")
    show_rows(console, columns, [[row[column] for column in columns] for row in collections])


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
    compared = f"{values['documents']} documents ({values['quarantined']} in quarantine) and {values['points']} points compared"
    if not findings:
        console.print(f"[green]clean[/green]: {compared}")
        return
    rows = [(f["kind"], f["subject"], f["detail"]) for f in findings[:SHOWN_ROWS]]
    show_rows(console, ["finding", "of", "detail"], rows)
    console.print(f"{len(findings)} findings; {compared}; rag fsck --repair reconciles")


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
    console.print("mend or replace a file and run rag index; rag quarantine retry tries again as it is")


def show_doctor(console: Console, findings: Sequence[Any]) -> None:
    """The environment's checks."""
    for finding in findings:
        mark = "[green]ok  [/green]" if finding.is_ok else "[red]fix [/red]"
        console.print(f"{mark} {finding.name}: {escape(finding.detail)}")
        if not finding.is_ok:
            console.print(f"     → {escape(finding.remedy)}")
