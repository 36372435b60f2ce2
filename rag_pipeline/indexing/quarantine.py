"""What the quarantine knows: for which documents a failure holds, and what to do about each reason."""

from dataclasses import replace
from pathlib import PurePosixPath

from rag_pipeline.schema import QuarantineEntry

READ_FAILURE = "read:"
"""Prefix of the quarantine key of a file that could not be read. Such an entry is no cache: every run tries again."""

_OTHER = "open the file with the program that made it, save it anew or in another format, and run rag index"
_REMEDIES = {
    "malformed": "the file is damaged: open it with the program that made it, save it anew, and run rag index",
    "encrypted": "the file wants a password: save a copy without one, and run rag index",
    "empty": "the file has no bytes: fetch it again, or delete it",
    "no_text": "no text came out: give the file some, or leave it out with the source's `exclude`",
    "needs_ocr": "the pages are pictures: run a text recognition (for instance ocrmypdf) over the file, and run rag index",
    "encoding": "the bytes are no text in any known encoding: save the file as UTF-8, and run rag index",
    "unsupported_type": "no parser reads such files: save it in another format, or leave it out with the source's `exclude`",
    "timeout": "it took too long: split the file, or raise the setting that the detail names, then rag quarantine retry",
    "crash": "the parser died on it: save the file anew; if it is sound, report it with the version of rag-pipeline",
    "malware": "a scanner took it for harmful: have it looked at before anybody opens it; nothing of it is indexed",
    "unreadable": "the file could not be opened or kept changing: mend its rights or wait; every run tries again by itself",
}


def remedy_for(reason: str) -> str:
    """What to do about a reason, in one sentence."""
    if reason.startswith("limit"):
        return _REMEDIES.get(reason, "the file is above a limit: make it smaller, or raise the limit under `parsing`, then retry")
    return _REMEDIES.get(reason, _OTHER)


def is_read_failure(entry: QuarantineEntry) -> bool:
    """Whether the file could not even be read, so that nothing is known of its content."""
    return entry.parser_fingerprint.startswith(READ_FAILURE)


def suffix_of(path: str) -> str:
    """The ending of a name, by which among equal bytes the parser may differ."""
    return PurePosixPath(path).suffix.lower()


def entry_for(entry: QuarantineEntry, *, document_id: str, source: str, path: str, generation: int) -> QuarantineEntry | None:
    """The entry as it concerns a document with the same content; None where it does not concern it.

    A failure of a content holds for every document that has it under the same ending; a failure to read only for its own.
    """
    if document_id == entry.document_id:
        return entry
    if is_read_failure(entry) or suffix_of(path) != suffix_of(entry.path):
        return None
    since = max(entry.generation, generation)
    return replace(entry, document_id=document_id, source=source, path=path, generation=since)
