"""Projects over temporary folders, for tests that need a whole index: real files, real parser, real store, real ledger."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from rag_pipeline.indexing import documents, vectors
from rag_pipeline.indexing.build import BuildReport
from rag_pipeline.indexing.fsck import FsckReport
from rag_pipeline.indexing.scan_report import ScanResult
from rag_pipeline.operations.follow import bring_in_step
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.operations.release import keep_live
from rag_pipeline.project import Project
from rag_pipeline.schema import VectorSpace
from rag_pipeline.settings import load_settings
from rag_pipeline_tests.fakes.embedder import HashEmbedder


def use_small_slices() -> None:
    """Lets the small buckets of tests have several slices, and these wait for several pools of texts; for this process."""
    documents.SLICE_DOCUMENTS = 2
    vectors.POOL_BATCHES = 2


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
    """The project of a settings file, with fast embedders and any other part replaced.

    Each vector space gets an embedder of its own: prompts, window and weights go into its vectors, as with a model.
    """
    project = Project(load_settings(file, {}))
    project.models.open = lambda facts, space: embedder or embedder_of(space)
    project.__dict__.update(parts)
    return project


def embedder_of(space: VectorSpace) -> HashEmbedder:
    """The stand-in for the model of a vector space."""
    return HashEmbedder(
        space.dimension,
        document_prompt=space.document_prompt,
        query_prompt=space.query_prompt,
        salt=f"{space.weights_sha256}{space.max_tokens}{space.document_prompt}{space.query_prompt}",
    )


def embedder(project: Project) -> HashEmbedder:
    """The stand-in for the model that an index run uses."""
    found = project.models.embedder(project.collections().target_spec.vector_space)
    assert isinstance(found, HashEmbedder)
    return found


def index_once(project: Project, *, approve_deletes: bool = False) -> tuple[ScanResult, BuildReport]:
    """One whole run, as the job does it, without Dagster."""
    with project.writer_lock():
        scan = project.scan(approve_deletes=approve_deletes, progress=SILENT)
        report = bring_in_step(project, project.buckets, progress=SILENT).report
        keep_live(project)
    return scan, report


def go_on(project: Project) -> BuildReport:
    """One whole run; what was built."""
    return index_once(project)[1]


def check(project: Project) -> FsckReport:
    """The fsck of a project."""
    return project.target_parts().fsck().check(project.buckets, SILENT)


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
