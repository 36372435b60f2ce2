"""Whole indexes that are built once and copied for every test, and opened again under other settings."""

import subprocess
from pathlib import Path
from typing import Any

from rag_pipeline.project import Project
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.projects import article, fill, index_once, open_project, uris, write_settings

TOTAL = 8
"""Documents, and chunks: each is one."""
DOCUMENTS = {f"topic{i}.md": article(f"topic{i}") for i in range(TOTAL)}
BATCHES = {"batch_tokens": 64}
"""One text a batch."""
PROMPT = {"document_prompt": "passage: ", **BATCHES}


class Index:
    """An index that is opened again under other settings, as the next process does."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder, self.parser = folder, FakeParser()
        self.project = self._open(settings)
        self.first = self.project.target.name

    @property
    def docs(self) -> Path:
        return self.folder / "docs"

    def under(self, **settings: Any) -> Project:
        """The project under these settings."""
        self.project.close()
        self.project = self._open(settings)
        self.parser.parsed.clear()
        return self.project

    def reopened(self) -> Project:
        """Another project of the settings as they stand in their file."""
        return open_project(self.folder / "rag_pipeline.yaml", parser=self.parser)

    def _open(self, settings: dict[str, Any]) -> Project:
        return open_project(write_settings(self.folder, **settings), parser=self.parser)


def make(folder: Path, **settings: Any) -> Path:
    """The folder, its documents indexed."""
    fill(folder / "docs", DOCUMENTS)
    index = Index(folder, **settings)
    index_once(index.project)
    index.project.close()
    return folder


def copy(made: Path, folder: Path) -> Path:
    """A copy of an indexed folder; the store's files have holes, which cp keeps."""
    subprocess.run(["cp", "-a", f"{made}/.", str(folder)], check=True)
    return folder


def points(project: Project, collection: str) -> set[str]:
    """Addresses of the documents that a collection holds."""
    return uris(point.payload for point in project.store.scroll(collection))
