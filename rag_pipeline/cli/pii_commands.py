"""Commands around masked personal data: look for what was missed, and turn encrypted values back."""

import sys

import click

from rag_pipeline.cli.commands import main
from rag_pipeline.cli.frame import FAILED, FINE, WRONG_USE, Frame, say, shared_options


@main.group()
def pii() -> None:
    """Personal data in the index: what was missed, and what was encrypted."""


@pii.command()
@shared_options
def scan(frame: Frame) -> int:
    """Look for patterned personal data in every stored point; exit code 1 where there is some. Shows counts, never a value."""
    from rag_pipeline.operations.leaks import SHOWN_DOCUMENTS, find_leaks

    project = frame.project()
    if not project.settings.pii.enabled:
        say("wrong use: pii.enabled is off, so there are no rules to look by; set it in the settings")
        return WRONG_USE
    try:
        report = find_leaks(project)
    finally:
        project.close()
    if frame.is_json:
        frame.answer(
            {
                "collection": report.collection,
                "points": report.points,
                "leaks": dict(sorted(report.leaks.items())),
                "documents": report.documents,
            }
        )
    else:
        found = ", ".join(f"{count} {kind}" for kind, count in sorted(report.leaks.items())) or "nothing"
        frame.console.print(f"{report.collection}: {report.points} points looked at, {found} found")
        for document, count in list(report.documents.items())[:SHOWN_DOCUMENTS]:
            frame.console.print(f"  document {document}: {count}")
    return FINE if report.is_clean else FAILED


@pii.command()
@click.argument("text", required=False)
@shared_options
def decrypt(frame: Frame, text: str | None) -> int:
    """Turn back the values in TEXT, or in standard input, that `operator: encrypt` masked. Needs RAG_PII_KEY."""
    from rag_pipeline.adapters.masking import KEY_NAME
    from rag_pipeline.adapters.pii_cipher import decrypt as reveal
    from rag_pipeline.settings import load_settings

    secret = load_settings(frame.config).secret(KEY_NAME)
    if not secret:
        say(f"wrong use: set {KEY_NAME} in the environment to the key that the index was built with")
        return WRONG_USE
    try:
        revealed = reveal(text if text is not None else sys.stdin.read(), secret)
    except ValueError as error:
        say(f"error: {error}")
        return FAILED
    frame.answer({"text": revealed}) if frame.is_json else click.echo(revealed)
    return FINE
