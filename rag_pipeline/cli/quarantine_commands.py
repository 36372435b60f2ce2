"""Commands around documents that could not be indexed: which, why, what to do, try again, take the list along."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from rag_pipeline.cli import tables
from rag_pipeline.cli.commands import main
from rag_pipeline.cli.frame import FAILED, FINE, WRONG_USE, Frame, say, shared_options
from rag_pipeline.indexing.quarantine import remedy_for
from rag_pipeline.indexing.scan_report import count_of
from rag_pipeline.project import Project
from rag_pipeline.schema import QuarantineEntry


@main.group(invoke_without_command=True)
@click.pass_context
def quarantine(context: click.Context) -> None:
    """Documents that could not be indexed."""
    if context.invoked_subcommand is None:
        context.invoke(quarantine_list)


@quarantine.command("list")
@click.option("--reason", default=None, help="Only this reason, such as encrypted.")
@click.option("--source", default=None, help="Only this source.")
@shared_options
def quarantine_list(frame: Frame, reason: str | None = None, source: str | None = None) -> int:
    """Every document in quarantine, with its reason."""
    entries = _chosen(frame.project(), reason=reason, source=source)
    if frame.is_json:
        frame.answer([tables.quarantine_values(entry) for entry in entries])
    else:
        tables.show_quarantine(frame.console, [tables.quarantine_values(entry) for entry in entries])
    return FINE


@quarantine.command("show")
@click.argument("document")
@shared_options
def quarantine_show(frame: Frame, document: str) -> int:
    """All that is known of DOCUMENT (its path, SOURCE/path or id), and what to do about it."""
    project = frame.project()
    shown = project.shown_names(document)
    found = [entry for entry in _chosen(project) if shown & _names(entry)]
    if not found:
        return _unknown(document)
    values = [{**tables.quarantine_values(entry), **_state(project, entry)} for entry in found]
    if frame.is_json:
        frame.answer(values)
    else:
        for row in values:
            told = [(name.replace("_", " "), "not told" if value is None else value) for name, value in row.items()]
            tables.show_rows(frame.console, ["", ""], told)
    return FINE


@quarantine.command("retry")
@click.argument("document", required=False)
@click.option("--reason", default=None, help="Only this reason, as after raising a limit.")
@shared_options
def quarantine_retry(frame: Frame, document: str | None, reason: str | None) -> int:
    """Forget failures, of DOCUMENT or of all, so that the next rag index tries again."""
    project = frame.project()
    shown = project.shown_names(document) if document is not None else set()
    entries = [e for e in _chosen(project, reason=reason) if document is None or shown & _names(e)]
    if document is not None and not entries:
        return _unknown(document)
    if reason is not None and not entries:
        say(f"wrong use: no document is in quarantine for '{reason}'; see rag quarantine list")
        return WRONG_USE
    project.ledger.remove_quarantine([(entry.content_hash, entry.parser_fingerprint) for entry in entries])
    if frame.is_json:
        frame.answer({"forgotten": len(entries)})
    else:
        frame.console.print(f"{count_of(len(entries), 'failure')} forgotten; the next rag index tries again")
    return FINE


@quarantine.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@shared_options
def quarantine_export(frame: Frame, file: Path) -> int:
    """Write the list to FILE (.csv or .json), with what to do about each document."""
    rows = [{**tables.quarantine_values(e), "remedy": remedy_for(e.reason)} for e in _chosen(frame.project())]
    if file.suffix.lower() not in (".csv", ".json"):
        say(f"wrong use: '{file.name}' ends neither with .csv nor with .json")
        return WRONG_USE
    try:
        _write(file, rows)
    except OSError as error:
        say(f"error: {file} cannot be written ({error.strerror or error}); choose another place")
        return FAILED
    say(f"{count_of(len(rows), 'document')} written to {file}")
    return FINE


def _names(entry: QuarantineEntry) -> set[str]:
    """By which a person may ask for it."""
    return {entry.path, entry.document_id, f"{entry.source}/{entry.path}"}


def _chosen(project: Project, *, reason: str | None = None, source: str | None = None) -> list[QuarantineEntry]:
    entries = project.ledger.quarantine()
    return [e for e in entries if reason in (None, e.reason) and source in (None, e.source)]


def _state(project: Project, entry: QuarantineEntry) -> dict[str, Any]:
    is_served = project.store.describe(project.target.name) is not None and entry.document_id in {
        str(point.payload.get("document_id"))
        for point in project.store.scroll(project.target.name)
        if point.payload.get("document_id") == entry.document_id
    }
    project.close()
    return {"last_good_version": "served, marked stale" if is_served else "none", "remedy": remedy_for(entry.reason)}


def _unknown(document: str) -> int:
    say(f"wrong use: '{document}' is not in quarantine; see rag quarantine list")
    return WRONG_USE


def _write(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    if file.suffix.lower() == ".json":
        file.write_text(json.dumps(rows, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        return
    names = [*tables.QUARANTINE_COLUMNS, "remedy"]
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows({name: _harmless(value) for name, value in row.items()} for row in rows)


def _harmless(value: Any) -> Any:
    """A path may begin like a formula, and spreadsheets calculate what does."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
