"""One run that dies by SIGKILL at the n-th call of a named method, in a process of its own, and what is looked at after it.

What the embedders were asked for goes to a log, a line each batch, so that a test can count what was embedded twice.
"""

import json
import multiprocessing
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rag_pipeline.errors import ReleaseBlockedError
from rag_pipeline.indexing.identity import space_fingerprint
from rag_pipeline.operations.erase import choose_by_subject, choose_documents, erase
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.operations.reindex import reindex
from rag_pipeline.operations.release import release, roll_back
from rag_pipeline.operations.retention import retain
from rag_pipeline.ports import Batching
from rag_pipeline.project import Project
from rag_pipeline.schema import CollectionRecord, Matrix, Vector, VectorSpace
from rag_pipeline_tests.fakes.embedder import HashEmbedder
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.projects import embedder_of, index_once, open_project, use_small_slices

TIMEOUT_S = 120
BLOCKED = 3
"""Exit code of a run that was refused with its reasons."""
KILLED = -signal.SIGKILL
PROCESSES = multiprocessing.get_context("forkserver")
LOADED_LATE = ("sql_ledger", "parquet_artifacts", "qdrant_edge_store", "bm25_encoder", "huggingface_tokenizer")
PROCESSES.set_forkserver_preload([__name__, *(f"rag_pipeline.adapters.{name}" for name in LOADED_LATE)])
"""Imported once, so that a process begins with its work."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Where a run dies: ``part.method``, at its so-manieth call, before or after the work of it.

    ``about`` counts only calls whose first argument is so: ``the candidate`` or ``the live one`` for the name of that
    collection, the state of a record, the kind of a decision, the beginning of a key.
    """

    place: str
    call: int = 1
    moment: str = "before"
    about: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.moment, self.place, self.about, str(self.call))))


class LoggedEmbedder:
    """Writes every batch down before another embedder gets it. A probe, one text of the batch before again, is none."""

    def __init__(self, inner: HashEmbedder, log: Path, space: VectorSpace) -> None:
        self.dimension = inner.dimension
        self._inner = inner
        self._log = log
        self._space = space_fingerprint(space)
        self._last: Sequence[str] = ()

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        is_probe = len(texts) == 1 and len(self._last) > 1 and texts[0] in (self._last[0], self._last[-1])
        if not is_probe:
            self._last = texts
            with self._log.open("a") as log:
                log.write(json.dumps([f"{self._space} {text}" for text in texts]) + "\n")
        return self._inner.embed_documents(texts)

    def embed_query(self, text: str) -> Vector:
        return self._inner.embed_query(text)

    def describe(self) -> Mapping[str, Any]:
        return self._inner.describe()


class QueuedLoggedEmbedder(LoggedEmbedder):
    """The same with several batches under way; one that is begun is computed, whether anybody waits for it or not."""

    def __init__(self, inner: HashEmbedder, log: Path, space: VectorSpace, *, at_once: int) -> None:
        super().__init__(inner, log, space)
        self._at_once = at_once

    def batching(self, tokens: int) -> Batching:
        return Batching(tokens, at_once=self._at_once)

    def begin_documents(self, texts: Sequence[str]) -> Callable[[], Matrix]:
        vectors = self.embed_documents(texts)
        return lambda: vectors


def read_log(log: Path) -> tuple[int, int]:
    """How many texts were embedded again in the same vector space, and how many the largest batch had."""
    batches = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    counts = Counter(text for batch in batches for text in batch)
    return sum(count - 1 for count in counts.values()), max(map(len, batches), default=0)


def die_at(project: Project, kill: Kill) -> None:
    """Replaces a method by one that kills this process at the call that is meant."""
    part_name, method = kill.place.split(".")
    part, calls = part_of(project, part_name), 0
    original, about = getattr(part, method), _meant(project, kill.about)

    def dying(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        is_meant = not about or _told(args).startswith(about)
        calls += is_meant
        if is_meant and calls == kill.call and kill.moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if is_meant and calls == kill.call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(part, method, dying)


def _meant(project: Project, about: str) -> str:
    chosen = project.collections()
    named = {"the candidate": chosen.candidate, "the live one": chosen.live}.get(about)
    return named.name if named else about


def _told(args: Sequence[Any]) -> str:
    return str(args[0].state if isinstance(args[0], CollectionRecord) else args[0]) if args else ""


def part_of(project: Project, name: str) -> Any:
    """The ledger, the store, the artifacts, or one artifact of what is filled: the candidate where there is one."""
    if name in ("ledger", "store", "artifacts"):
        return getattr(project, name)
    chosen = project.collections()
    filled, spec = (chosen.candidate, project.spec) if chosen.candidate else (chosen.target, chosen.target_spec)
    parts = project.parts(filled, spec)
    chunks = project.artifacts.chunks(filled.name)
    return {"document_artifact": parts.documents, "chunk_artifact": chunks, "vector_artifact": parts.vectors}[name]


def erase_person(project: Project) -> None:
    """Everything of the person of ``test_erase.py``."""
    chosen = choose_by_subject(project, "xyzzy-plugh-quux")
    assert chosen is not None
    erase(project, chosen)


OPERATIONS: Mapping[str, Callable[[Project], object]] = {
    "index": index_once,
    "reindex": lambda project: reindex(project, project.buckets, progress=SILENT),
    "release": lambda project: release(project, approve=False, by="test", progress=SILENT),
    "roll_back": lambda project: roll_back(project, reason="worse answers", by="test", progress=SILENT),
    "retain": retain,
    "erase": lambda project: erase(project, choose_documents(project, [f"secret-{number}.md" for number in range(3)])),
    "erase_subject": erase_person,
}


def run(file: Path, log: Path, kill: Kill | None = None, *, operation: str = "index", at_once: int = 1) -> int:
    """The exit code of one operation in a process of its own; ``KILLED`` when it died where it should."""
    process = PROCESSES.Process(target=work, args=(file, log, kill, operation), kwargs={"at_once": at_once})
    process.start()
    process.join(TIMEOUT_S)
    assert process.exitcode is not None, f"{operation} did not end within {TIMEOUT_S} s"
    return process.exitcode


def work(file: Path, log: Path, kill: Kill | None, operation: str, *, has_real_parser: bool = False, at_once: int = 1) -> None:
    """The operation in this process, to its end or its kill."""
    use_small_slices()
    project = open_project(file) if has_real_parser else open_project(file, parser=FakeParser())
    project.models.open = lambda facts, space: (
        LoggedEmbedder(embedder_of(space), log, space)
        if at_once == 1
        else QueuedLoggedEmbedder(embedder_of(space), log, space, at_once=at_once)
    )
    if kill is not None:
        die_at(project, kill)
    try:
        OPERATIONS[operation](project)
    except ReleaseBlockedError:
        sys.exit(BLOCKED)
    finally:
        project.close()


def ask(file: Path, question: str) -> tuple[str | None, set[str]]:
    """What a reader sees right now: the collection behind the alias, and the documents that it finds."""
    project = open_project(file, parser=FakeParser())
    try:
        hits = project.searcher().search(question, limit=5)
        return project.store.resolve_alias(project.settings.alias), {str(hit.payload["uri"]) for hit in hits}
    finally:
        project.close()


Points = Mapping[str, tuple[Mapping[str, Any], Vector]]


def read_points(project: Project, collection: str) -> Points:
    """Payload and vector of every stored point by id."""
    found = project.store.scroll(collection, with_vectors=True)
    return {point.id: (dict(point.payload), np.asarray(point.vector, np.float32)) for point in found}


def fresh_points(file: Path, folder: Path) -> Points:
    """What an empty state becomes from a copy of the documents, under the settings as they are."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(file.parent / "docs", folder / "docs")
    shutil.copy(file, folder)
    project = open_project(folder / file.name, parser=FakeParser())
    try:
        index_once(project)
        return read_points(project, project.target.name)
    finally:
        project.close()


def assert_equal_points(found: Points, wanted: Points) -> None:
    """Ids, payloads and vectors; the last to five places."""
    assert found.keys() == wanted.keys()
    for key, (payload, vector) in found.items():
        assert payload == wanted[key][0]
        assert np.allclose(vector, wanted[key][1], atol=1e-5), f"vector of {payload['uri']}"
