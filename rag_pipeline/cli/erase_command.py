"""``rag erase``: documents, or everything that names a person, gone for good and proven so."""

import sys
from typing import Any

import click

from rag_pipeline.cli.commands import main
from rag_pipeline.cli.frame import FAILED, FINE, WRONG_USE, Frame, say, shared_options
from rag_pipeline.indexing.scan_report import count_of


@main.command()
@click.option("--document", "documents", multiple=True, metavar="NAME", help="Address, path or id; repeatable.")
@click.option("--subject", metavar="TEXT", help="Every document that holds this text; - reads it from standard input.")
@click.option("--dry-run", is_flag=True, help="Only say which documents would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@shared_options
def erase(frame: Frame, documents: tuple[str, ...], subject: str | None, dry_run: bool, yes: bool) -> int:
    """Erase documents from the index for good, and prove it.

    They and equal copies of them never come back. Without an option, completes an erasure that was cut off. Exit code 0 only
    where nothing is left in any file; sources, backups and snapshots are not touched.
    """
    from rag_pipeline.operations import erase as erasing

    project = frame.project()
    try:
        if not documents and subject is None:
            done = erasing.complete_unfinished(project)
            if done is None:
                say("nothing to complete; name what to erase with --document or --subject")
                return WRONG_USE
            return _answer(frame, done)
        chosen = _choose(project, documents, subject)
        if chosen is None:
            return WRONG_USE
        if dry_run:
            return _show_choice(frame, project, chosen)
        if not yes and not click.confirm(f"Erase {count_of(len(chosen.ids), 'document')} for good?", err=True):
            say("nothing was erased")
            return FAILED
        return _answer(frame, erasing.erase(project, chosen))
    finally:
        project.close()


def _choose(project: Any, documents: tuple[str, ...], subject: str | None) -> Any:
    """The documents that are meant, or None after saying what is wrong."""
    from rag_pipeline.operations.erase import choose_by_subject, choose_documents, is_masked_unsearchable

    if documents and subject is not None:
        say("wrong use: --document and --subject do not go together; run rag erase twice")
        return None
    if subject is not None:
        if is_masked_unsearchable(project):
            say(
                "warning: values were masked without a key, so documents that held this only in a masked place are not found; "
                "name them with --document, or set RAG_PII_KEY and index anew"
            )
        chosen = choose_by_subject(project, sys.stdin.read().strip() if subject == "-" else subject)
    else:
        chosen = choose_documents(project, documents)
    if chosen is None:
        say("wrong use: the subject is too short; it would stand in nearly everything")
    elif chosen.unknown:
        say(f"wrong use: {len(chosen.unknown)} of {len(documents)} names are of no document; see rag query for addresses")
        return None
    elif not chosen.ids:
        say("wrong use: no document holds it; what is in quarantine or outside the index cannot be searched")
        return None
    return chosen


def _show_choice(frame: Frame, project: Any, chosen: Any) -> int:
    records = project.ledger.documents()
    rows = [{"document_id": key, "uri": records[key].uri if key in records else None} for key in sorted(chosen.ids)]
    if frame.is_json:
        frame.answer({"documents": rows, "copies": chosen.copies})
    else:
        for row in rows:
            frame.console.print(row["uri"] or row["document_id"])
        frame.console.print(f"{count_of(len(rows), 'document')} would go, {chosen.copies} of them equal copies")
    return FINE


def _answer(frame: Frame, done: Any) -> int:
    proof = done.proof
    values = {
        "documents": done.documents,
        "points": done.points,
        "collections": done.collections,
        "records": done.records,
        "proven": done.is_proven,
        "looked_at": {"pieces": proof.pieces, "points": proof.points, "files": proof.files},
        "findings": proof.findings,
        "notes": done.notes,
        "outside": list(proof.outside),
    }
    if frame.is_json:
        frame.answer(values)
        return FINE if done.is_proven else FAILED
    console = frame.console
    gone = f"{count_of(done.points, 'point')}, {count_of(done.records, 'record')} that named them"
    console.print(f"{count_of(len(done.documents), 'document')} erased: {gone}")
    console.print(
        f"looked for {proof.pieces} pieces of their text and their ids in {proof.points} points and {proof.files} files: "
        + ("nothing left" if done.is_proven else "NOT PROVEN GONE")
    )
    for line in (*proof.findings, *done.notes):
        console.print(f"  {line}")
    console.print("not in reach of this command:")
    for line in proof.outside:
        console.print(f"  {line}")
    return FINE if done.is_proven else FAILED
