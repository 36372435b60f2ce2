"""A live collection and a candidate beside it, built once and copied for every test that spoils one."""

import os
import random
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rag_pipeline.operations.progress import SILENT
from rag_pipeline.operations.reindex import reindex
from rag_pipeline.project import Project
from rag_pipeline.schema import CollectionRecord
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.projects import fill, index_once, open_project, write_settings

SMALL_CHUNKS: dict[str, Any] = {"default": {"size": 64}, "allow_unusual_sizes": True}
"""Several chunks a document, so that a part of one can be lost."""
NEW_MODEL: dict[str, Any] = {"document_prompt": "passage: "}
"""Another vector space of the same dimension."""
_SYLLABLES = ("ba", "ke", "lo", "mi", "nu", "ra", "se", "ti", "vo", "zu")
_ZEROS = bytes(65_536)


def story(number: int, *, version: int = 1, sections: int = 3) -> str:
    """A document of words that no other one has, among words that all have."""
    chooser = random.Random(f"{number}/{version}")
    parts = [f"# Report {number}: {_words(chooser, 3)}"]
    for section in range(sections):
        parts.append(f"## {_words(chooser, 4)}")
        parts += [f"In part {section} the {_words(chooser, 3)} meets the {_words(chooser, 3)}." for _ in range(2)]
    return "\n\n".join(parts) + "\n"


def stories(amount: int) -> dict[str, str]:
    """Documents by path."""
    return {f"report{number}.md": story(number, sections=1 + number % 4) for number in range(amount)}


def make_live(folder: Path, *, documents: int, parts: Mapping[str, Any] | None = None, **settings: Any) -> Path:
    """The settings file of an index that is live under the first model."""
    file = write_settings(folder, chunking=SMALL_CHUNKS, **settings)
    fill(folder / "docs", stories(documents))
    project = open_quick(file, **(parts or {}))
    index_once(project)
    project.close()
    return file


def ask_for_new_model(folder: Path, **settings: Any) -> Path:
    """The settings file, which now names a model of the same dimension."""
    return write_settings(folder, **{"chunking": SMALL_CHUNKS, "embedding": NEW_MODEL, **settings})


def open_quick(file: Path, **parts: Any) -> Project:
    """The project without parsing processes."""
    return open_project(file, **{"parser": FakeParser(), **parts})


def build_candidate(project: Project) -> CollectionRecord:
    """The candidate that the settings ask for, built whole."""
    outcome = reindex(project, project.buckets, progress=SILENT)
    assert outcome.is_complete
    assert outcome.candidate is not None
    return outcome.candidate


def make_pair(folder: Path, *, documents: int, **settings: Any) -> Path:
    """The settings file of an index with a live collection and a whole candidate."""
    make_live(folder, documents=documents, **settings)
    file = ask_for_new_model(folder, **settings)
    project = open_quick(file)
    build_candidate(project)
    project.close()
    return file


def copy_of(file: Path, folder: Path) -> Path:
    """The same index in another folder."""
    shutil.copytree(file.parent, folder, copy_function=_copy_with_holes)
    return folder / file.name


@contextmanager
def closing(project: Project) -> Iterator[Project]:
    """The project, closed at the end and its folder gone: the engine's files take 100 MB for each collection."""
    try:
        yield project
    finally:
        project.close()
        shutil.rmtree(project.settings.root)


def live_name(project: Project) -> str:
    """The collection behind the alias."""
    name = project.store.resolve_alias(project.settings.alias)
    assert name is not None
    return name


def _copy_with_holes(source: str, target: str) -> None:
    """A copy without the empty parts: the engine's files are large and almost all zeros."""
    with Path(source).open("rb") as reader, Path(target).open("wb") as writer:
        while block := reader.read(len(_ZEROS)):
            if block == _ZEROS:
                writer.seek(len(block), os.SEEK_CUR)
            else:
                writer.write(block)
        writer.truncate(reader.tell())


def _words(chooser: random.Random, amount: int) -> str:
    return " ".join("".join(chooser.choices(_SYLLABLES, k=4)) for _ in range(amount))
