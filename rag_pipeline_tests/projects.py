"""Projects over temporary folders, for tests that need a whole index: real files, real parser, real store, real ledger."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from rag_pipeline.indexing.build import BuildReport
from rag_pipeline.indexing.fsck import FsckReport
from rag_pipeline.indexing.release import go_live
from rag_pipeline.indexing.scan_report import ScanResult
from rag_pipeline.project import Project
from rag_pipeline.settings import load_settings
from rag_pipeline_tests.fakes.embedder import HashEmbedder


class SilentProgress:
    """Progress that nobody watches."""

    def extend(self, stage: str, amount: int) -> None:
        """Nothing."""

    def advance(self, stage: str, amount: int = 1) -> None:
        """Nothing."""


def write_settings(folder: Path, *, docs: Path | None = None, **changes: Any) -> Path:
    """A settings file over ``docs`` (default: the folder ``docs`` beside it)."""
    values: dict[str, Any] = {
        "sources": [{"name": "handbook", "url": str(docs or "docs")}],
        "buckets": 4,
        "parsing": {"workers": 1},
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (docs or folder / "docs").mkdir(parents=True, exist_ok=True)
    file = folder / "rag_pipeline.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def open_project(file: Path, *, embedder: Any = None, **parts: Any) -> Project:
    """The project of a settings file, with a fast embedder and any other part replaced."""
    project = Project(load_settings(file, {}))
    project.__dict__["embedder"] = embedder or HashEmbedder(project.facts.dimension)
    project.__dict__.update(parts)
    return project


def index_once(project: Project, *, approve_deletes: bool = False) -> tuple[ScanResult, BuildReport]:
    """One whole run, as the job does it, without Dagster."""
    progress = SilentProgress()
    scan = project.scan(approve_deletes=approve_deletes, progress=progress)
    record = project.open_target()
    build = project.build()
    report = build.run(project.buckets, progress=progress)
    build.compact(project.buckets)
    stale = build.stale_buckets(project.buckets)
    go_live(project.ledger, project.store, record=record, spec=project.spec, out_of_step=len(stale))
    return scan, report


def go_on(project: Project) -> BuildReport:
    """One whole run; what was built."""
    return index_once(project)[1]


def check(project: Project) -> FsckReport:
    """The fsck of a project."""
    return project.fsck().check(project.buckets, SilentProgress())


def dump(project: Project) -> dict[str, Mapping[str, Any]]:
    """Every stored point's payload by id; ids follow from payload and text."""
    return {point.id: dict(point.payload) for point in project.store.scroll(project.target.name)}


def fill(folder: Path, texts: Mapping[str, str]) -> None:
    """Writes files."""
    for path, text in texts.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def article(topic: str, paragraphs: int = 3) -> str:
    """A small Markdown document about a topic."""
    body = "\n\n".join(
        f"## Part {i} of {topic}\n\nThe {topic} has part {i}. It is described in sentence {i}." for i in range(paragraphs)
    )
    return f"# All about {topic}\n\n{body}\n"


def uris(payloads: Iterable[Mapping[str, Any]]) -> set[str]:
    """Addresses of the documents that the payloads belong to."""
    return {str(payload["uri"]) for payload in payloads}


def fresh_dump(project: Project, folder: Path, **parts: Any) -> dict[str, Mapping[str, Any]]:
    """What an empty state becomes from a copy of the project's documents, under the same settings."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(project.settings.root / "docs", folder / "docs")
    shutil.copy(project.settings.root / "rag_pipeline.yaml", folder)
    fresh = open_project(folder / "rag_pipeline.yaml", **parts)
    try:
        index_once(fresh)
        return dump(fresh)
    finally:
        fresh.close()
