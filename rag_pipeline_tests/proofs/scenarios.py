"""Small histories with a promise at the end: each passes on the shipped code and fails under the bugs that it is there for."""

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rag_pipeline.errors import RagPipelineError
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.operations.reindex import reindex
from rag_pipeline.operations.release import release, roll_back
from rag_pipeline.operations.retention import retain
from rag_pipeline.project import Project
from rag_pipeline.schema import CollectionState, Point, VectorSpace
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.indexes import copy
from rag_pipeline_tests.projects import (
    article,
    check,
    dump,
    embedder_of,
    fill,
    fresh_dump,
    index_once,
    open_project,
    uris,
    write_settings,
)

NEW_MODEL = {"document_prompt": "passage: "}
DOCUMENTS = 12
EDITED = "walrus"
"""A word that no document has before it is edited."""


class CrashError(Exception):
    """Stands for the death of the process."""


@dataclass
class Stages:
    """Prepared states: ``indexed``, ``built`` with a candidate, ``released`` with a retired collection."""

    root: Path
    counter: Iterator[int] = field(default_factory=itertools.count)

    def make(self) -> "Stages":
        indexed = write_settings(self.root / "indexed", delete_brake={"max_documents": 1000})
        fill(indexed.parent / "docs", {f"topic{i}.md": article(f"topic{i}", 3) for i in range(DOCUMENTS)})
        with opened(indexed) as project:
            index_once(project)
        built = self._next("indexed", "built")
        with opened(built) as project:
            reindex(project, project.buckets, progress=SILENT)
        with opened(self._next("built", "released")) as project:
            release(project, approve=False, by="test", progress=SILENT)
        return self

    def copy(self, name: str, **settings: Any) -> Path:
        """The settings file of a copy, changed where that is asked for."""
        return write_settings(self._copy(name, f"copy-{next(self.counter)}"), **_settings_of(name), **settings)

    def _next(self, before: str, name: str) -> Path:
        return write_settings(self._copy(before, name), **_settings_of(name))

    def _copy(self, name: str, to: str) -> Path:
        folder = self.root / to
        folder.mkdir()
        return copy(self.root / name, folder)


def _settings_of(name: str) -> dict[str, Any]:
    limits: dict[str, Any] = {"delete_brake": {"max_documents": 1000}}
    return limits if name == "indexed" else {**limits, "embedding": NEW_MODEL}


@contextlib.contextmanager
def opened(file: Path) -> Iterator[Project]:
    project = open_project(file, parser=FakeParser())
    try:
        yield project
    finally:
        project.close()


def edit(file: Path) -> None:
    fill(file.parent / "docs", {"topic3.md": article(EDITED, 3)})


def crash_once(file: Path, part: str, method: str) -> None:
    """An index run that dies at the first call of a method."""

    def die(*args: Any, **kwargs: Any) -> Any:
        raise CrashError(method)

    with opened(file) as project, contextlib.suppress(CrashError):
        setattr(getattr(project, part), method, die)
        index_once(project)


def found(project: Project, question: str) -> set[str]:
    return uris(hit.payload for hit in project.searcher().search(question, limit=3))


def texts(project: Project) -> str:
    return " ".join(str(payload["text"]) for payload in dump(project).values())


def crash_at_an_upsert_keeps_the_old_answer(stages: Stages) -> None:
    file = stages.copy("indexed")
    edit(file)
    crash_once(file, "store", "upsert")
    with opened(file) as project:
        assert "docs/topic3.md" in found(project, "topic3")


def crash_at_an_upsert_is_made_good(stages: Stages) -> None:
    file = stages.copy("indexed")
    edit(file)
    crash_once(file, "store", "upsert")
    assert_made_good(file)


def crash_while_parsing_is_made_good(stages: Stages) -> None:
    file = stages.copy("indexed")
    edit(file)
    crash_once(file, "parser", "parse_all")
    assert_made_good(file)


def assert_made_good(file: Path) -> None:
    with opened(file) as project:
        index_once(project)
        assert EDITED in texts(project)
        assert check(project).findings == []
        assert dump(project) == fresh_dump(project, file.parent / "fresh", parser=FakeParser())


def dropped_point_is_noticed(stages: Stages) -> None:
    file = stages.copy("indexed")
    edit(file)
    with opened(file) as project, contextlib.suppress(RagPipelineError):
        upsert: Callable[..., None] = project.store.upsert
        project.store.upsert = lambda name, points: upsert(name, points[:-1])  # type: ignore[method-assign]
        index_once(project)
    assert_made_good(file)


def switch_within_a_request_mixes_nothing(stages: Stages) -> None:
    with opened(stages.copy("built")) as project:
        chosen = project.collections()
        assert chosen.live
        assert chosen.candidate
        spaces = {r.name: VectorSpace(**r.spec["vector_space"]) for r in (chosen.live, chosen.candidate)}
        names, asked = itertools.cycle(spaces), []
        search: Callable[..., Any] = project.store.search_dense

        def searched(name: str, vector: Any, **options: Any) -> Any:
            asked.append((name, vector))
            return search(name, vector, **options)

        project.store.search_dense = searched  # type: ignore[method-assign]
        project.store.resolve_alias = lambda alias: next(names)  # type: ignore[method-assign]
        for _ in range(3):
            project.searcher().search("topic5", limit=3)
        for name, vector in asked:
            assert np.allclose(vector, embedder_of(spaces[name]).embed_query("topic5"))


def damaged_candidate_never_goes_live(stages: Stages) -> None:
    with opened(stages.copy("built")) as project:
        candidate = project.collections().candidate
        assert candidate
        damage_one_vector(project, candidate.name)
        switches: list[str] = []
        switch: Callable[..., None] = project.store.switch_alias

        def switched(alias: str, collection: str) -> None:
            switches.append(collection)
            switch(alias, collection)

        project.store.switch_alias = switched  # type: ignore[method-assign]
        with contextlib.suppress(RagPipelineError):
            release(project, approve=False, by="test", progress=SILENT)
        assert switches == []


def damage_one_vector(project: Project, name: str) -> None:
    """One point gets the vector of another, which no count and hardly a question shows."""
    first, second = itertools.islice(project.store.scroll(name, with_vectors=True), 2)
    sparse = project.sparse.encode_documents([str(first.payload["text"])])[0]
    assert second.vector is not None
    project.store.upsert(name, [Point(id=first.id, vector=second.vector, sparse=sparse, payload=first.payload)])


def late_edit_is_live_after_the_switch(stages: Stages) -> None:
    file = stages.copy("built")
    edit(file)
    with opened(file) as project:
        release(project, approve=False, by="test", progress=SILENT)
        assert EDITED in texts(project)


def rollback_is_not_stale(stages: Stages) -> None:
    file = stages.copy("released")
    edit(file)
    with opened(file) as project:
        index_once(project)
        roll_back(project, reason="worse answers", by="test", progress=SILENT)
        assert EDITED in texts(project)


def what_is_behind_the_alias_is_never_dropped(stages: Stages) -> None:
    with opened(stages.copy("indexed", release={"grace_hours": 0})) as project:
        live = project.collections().live
        assert live
        project.ledger.put_collection(replace(live, state=CollectionState.RETIRED))
        retain(project)
        assert "docs/topic3.md" in found(project, "topic3")
        assert [record.name for record in project.ledger.collections("docs")] == [live.name]


def changed_weights_ask_for_a_candidate(stages: Stages) -> None:
    with opened(stages.copy("indexed")) as project:
        assert project.collections().candidate is None
        facts = replace(project.facts, weights_sha256="0" * 64)
        project.__dict__.pop("spec", None)
        project.__dict__["facts"] = facts
        assert project.collections().candidate is not None


def refused_settings_are_not_built_again(stages: Stages) -> None:
    file = stages.copy("built", release={"canaries": "canaries.jsonl"})
    canary = {"query": "what is nowhere", "relevant": ["docs/nowhere.md"]}
    (file.parent / "canaries.jsonl").write_text(json.dumps(canary) + "\n")
    with opened(file) as project:
        with contextlib.suppress(RagPipelineError):
            release(project, approve=False, by="test", progress=SILENT)
        chosen = project.collections()
        assert chosen.live != chosen.candidate
        assert chosen.refusal is not None


def outage_deletes_nothing(stages: Stages) -> None:
    file = stages.copy("indexed")
    (file.parent / "docs").rename(file.parent / "elsewhere")
    with opened(file) as project:
        index_once(project)
        assert len(uris(dump(project).values())) == DOCUMENTS


def large_bucket_is_whole(stages: Stages) -> None:
    file = write_settings(stages.root / f"copy-{next(stages.counter)}", buckets=1)
    fill(file.parent / "docs", {f"topic{i}.md": article(f"topic{i}", 3) for i in range(DOCUMENTS)})
    with opened(file) as project:
        index_once(project)
        assert check(project).findings == []
        assert len(uris(dump(project).values())) == DOCUMENTS
