"""What can be wrong around the pipeline, looked at one by one."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from packaging.version import Version

from rag_pipeline.adapters.parser_pool import measures_in_force
from rag_pipeline.adapters.parsing import sandbox
from rag_pipeline.cli.frame import Frame
from rag_pipeline.errors import RagPipelineError
from rag_pipeline.indexing.scan_report import count_of
from rag_pipeline.operations.gate import check_question_files
from rag_pipeline.project import Project

FREE_SPACE_MIN_BYTES = 1 << 30
SERVER_VERSION_MIN = "1.19.0"
"""Of Qdrant: its release notes name a path traversal in snapshots that it ends. audit/floors.yaml says the same of the image."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that was looked at."""

    name: str
    is_ok: bool
    detail: str
    remedy: str = ""


def examine(frame: Frame) -> list[Diagnosis]:
    """Everything, in the order in which to mend it; without good settings nothing else can be looked at."""
    try:
        project = frame.project()
    except RagPipelineError as error:
        return [Diagnosis("settings", False, str(error), "mend the settings file; docs/settings.md lists every key")]
    findings = [Diagnosis("settings", True, f"alias '{project.settings.alias}', {len(project.settings.sources)} sources")]
    for name, look in _LOOKS:
        try:
            findings.append(look(project))
        except RagPipelineError as error:
            findings.append(Diagnosis(name, False, str(error), _REMEDIES[name]))
    project.close()
    return findings


def _look_at_model(project: Project) -> Diagnosis:
    facts = project.facts
    place = f"served at {project.settings.embedding.endpoint}" if project.settings.embedding.endpoint else "loaded here"
    detail = f"{facts.model}, {facts.dimension} dimensions, up to {facts.max_positions} tokens, {place}"
    return Diagnosis("model", True, detail)


def _look_at_offline(project: Project) -> Diagnosis:
    is_hub = "@" in project.settings.embedding.model
    if is_hub and not os.environ.get("HF_HUB_OFFLINE"):
        return Diagnosis("offline models", True, "a hub model, in the local cache; set HF_HUB_OFFLINE=1 to never ask the hub")
    return Diagnosis("offline models", True, "no network is needed")


def _look_at_state(project: Project) -> Diagnosis:
    folder = project.local_state
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        return Diagnosis("state", False, f"{folder} cannot be written", "give this user write permission, or change 'state'")
    documents = count_of(project.ledger.count_documents(), "document")
    return Diagnosis("state", True, f"{folder}, generation {project.ledger.generation()}, {documents}")


def _look_at_disk(project: Project) -> Diagnosis:
    folder = project.local_state
    free = shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free
    detail = f"{free / (1 << 30):.1f} GiB free"
    is_ok = free >= FREE_SPACE_MIN_BYTES
    return Diagnosis("disk", is_ok, detail, "" if is_ok else "free at least 1 GiB, or move 'state' and 'store.path'")


def _look_at_store(project: Project) -> Diagnosis:
    names = project.store.collections()
    live, version = project.store.resolve_alias(project.settings.alias), project.store.server_version()
    kind = project.settings.store.kind + (f" {version}" if version else "")
    detail = f"{kind}, {count_of(len(names), 'collection')}, live: {live or 'nothing yet'}"
    if version and Version(version) < Version(SERVER_VERSION_MIN):
        remedy = f"upgrade it to {SERVER_VERSION_MIN} or newer: older ones let a snapshot's name reach other files"
        return Diagnosis("store", False, detail, remedy)
    return Diagnosis("store", True, detail)


def _look_at_sources(project: Project) -> Diagnosis:
    files = sum(len(source.list_files().files) for source in project.sources.values())
    if not files:
        remedy = "check 'url', 'include' and 'exclude' of each source"
        return Diagnosis("sources", False, "no file matches", remedy)
    return Diagnosis("sources", True, f"{files} files match")


def _look_at_parsing(project: Project) -> Diagnosis:
    """Weaker protection is no fault of the installation, but nobody should have to guess it."""
    held = measures_in_force()
    missing = [f"no {name} ({sandbox.PURPOSES[name]})" for name in sandbox.MEASURES if name not in held]
    scanner = project.settings.parsing.scanner
    scanned = f"every file is scanned by {scanner[0]}" if scanner else "no malware scanner"
    return Diagnosis("parsing", True, "; ".join([f"processes are shut in by {', '.join(held) or 'nothing'}", *missing, scanned]))


def _look_at_questions(project: Project) -> Diagnosis:
    doubts = check_question_files(project)
    release = project.settings.release
    detail = f"golden set: {release.golden_set or 'none, the gate asks headings'}; canaries: {release.canaries or 'none'}"
    return Diagnosis("questions", not doubts, "; ".join([detail, *doubts]), _REMEDIES["questions"] if doubts else "")


_LOOKS: tuple[tuple[str, Callable[[Project], Diagnosis]], ...] = (
    ("model", _look_at_model),
    ("offline models", _look_at_offline),
    ("state", _look_at_state),
    ("disk", _look_at_disk),
    ("store", _look_at_store),
    ("sources", _look_at_sources),
    ("parsing", _look_at_parsing),
    ("questions", _look_at_questions),
)
_REMEDIES = {
    "questions": "mend the files of release.golden_set and release.canaries (docs/evaluation.md)",
    "parsing": "check memory and process limits: no parsing process can be started",
    "model": "name an installed model in embedding.model",
    "offline models": "install the model as a package or a folder",
    "state": "check 'state' and 'ledger_url'",
    "disk": "check 'state'",
    "store": "start Qdrant or mend store.url and QDRANT_API_KEY; for the embedded store, end the process that holds it",
    "sources": "mend the source's url or its permissions",
}
