"""What histories are made of: a project that can die at any call, readers that look on, and the fresh build to compare with."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_pipeline.adapters.document_sources import open_source
from rag_pipeline.adapters.model_files import inspect_model
from rag_pipeline.adapters.models import Models
from rag_pipeline.evaluation import gate_checks, retrieval_metrics
from rag_pipeline.indexing.identity import space_fingerprint, spec_fingerprint, text_digest
from rag_pipeline.operations import gate
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.project import Project
from rag_pipeline.schema import CollectionRecord, IndexSpec, Matrix, ModelFacts, Vector, VectorSpace
from rag_pipeline.settings import load_settings
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.projects import embedder_of, fill, index_once, open_project, write_settings

Dump = dict[str, tuple[Mapping[str, Any], Vector]]
"""Payload and vector of every point by its id."""

QUESTION = "which part is described in a sentence"
VECTOR_TOLERANCE = 1e-5
LENIENT = {"max_drop": 1, "min_recall": 0, "min_overlap": 0, "latency_ok_ms": 1e6}
"""A gate whose only reason to refuse is what it reads back: a few like texts say nothing of a model's worth."""
BASE: dict[str, Any] = {"buckets": 2, "delete_brake": {"max_documents": 1000}}

QUICK_GATE = {
    (gate, "KNOWN_ITEMS"): 3,
    (gate, "PROBES"): 3,
    (gate_checks, "TIMED_SEARCHES"): 1,
    (gate_checks, "WARM_UPS"): 0,
    (retrieval_metrics, "ROUNDS"): 10,
}
"""What the gate measures is not judged here, so it may measure little."""

STORE_WRITES = ("upsert", "delete", "switch_alias", "create_collection", "drop_collection", "set_metadata", "optimize")
LEDGER_WRITES = ("put_bucket_state", "put_collection", "add_decision", "commit_scan", "set_meta", "forget_bucket_states")
ARTIFACT_WRITES = {"documents": ("append", "replace"), "chunks": ("append", "replace"), "vectors": ("append", "retain")}
_FILL = ("vectors.append", "chunks.append", "store.upsert", "store.delete", "ledger.put_bucket_state")
_SWITCH = ("store.switch_alias", "ledger.put_collection", "ledger.add_decision", "ledger.commit_scan")
PLACES = {
    "index": (*_FILL, "documents.append", "documents.replace", "vectors.retain", "ledger.commit_scan", "ledger.set_meta"),
    "reindex": (*_FILL, "store.create_collection", "store.set_metadata", "store.optimize", "ledger.put_collection"),
    "release": (*_FILL, *_SWITCH, "store.set_metadata", "store.optimize"),
    "roll": (*_FILL, *_SWITCH, "ledger.set_meta"),
    "retain": ("store.drop_collection", "artifacts.drop", "ledger.put_collection", "ledger.add_decision"),
}
"""Calls at which a work may die, by the work."""


class CrashError(Exception):
    """Stands for the death of the process."""


@dataclass(frozen=True)
class Crash:
    """Where a process dies: at its ``call``-th call of the place, before or after the work of it."""

    work: str
    place: str
    call: int = 1
    is_after: bool = False


class Crasher:
    """Lets calls through until the armed one, which dies; after that every call does, in whatever thread."""

    def __init__(self, look: Callable[[str], None] = lambda _: None) -> None:
        """``look`` is called after every write to the store."""
        self._look = look
        self._armed: Crash | None = None
        self._left = 0
        self._wrapped: dict[tuple[int, str], Any] = {}
        """By identity; the parts are kept, so that no other part gets the same."""
        self.is_dead = False

    def arm(self, crash: Crash | None) -> None:
        """The next call of this place dies; None: no call does. Who was dead lives again."""
        self.is_dead = False
        self._armed, self._left = crash, crash.call if crash else 0

    def wrap(self, part: Any, name: str, methods: Sequence[str]) -> Any:
        """The part, its methods watched."""
        for method in methods:
            if (id(part), method) not in self._wrapped:
                self._wrapped[id(part), method] = part
                setattr(part, method, self._watched(getattr(part, method), f"{name}.{method}"))
        return part

    def _watched(self, original: Callable[..., Any], place: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            dies = self._comes_to(place)
            if self.is_dead or (dies and not dies.is_after):
                self._die(place)
            result = original(*args, **kwargs)
            if dies:
                self._die(place)
            if place.startswith("store."):
                self._look(place)
            return result

        return call

    def _comes_to(self, place: str) -> Crash | None:
        if self._armed is None or self._armed.place != place:
            return None
        self._left -= 1
        return self._armed if self._left == 0 else None

    def _die(self, place: str) -> None:
        self.is_dead = True
        raise CrashError(place)


class CountedEmbedder:
    """Complains when a text is embedded whose vector is kept already."""

    def __init__(self, space: VectorSpace, digests: Callable[[], set[bytes]]) -> None:
        self._inner = embedder_of(space)
        self.dimension = self._inner.dimension
        self._digests = digests
        self._last: Sequence[str] = ()

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        is_control = len(texts) == 1 and texts[0] in self._last  # a text of the last batch, asked for alone
        if not is_control:
            held = self._digests()
            twice = [text for text in texts if text_digest(text) in held]
            assert not twice, f"embedded again: {twice}"
            self._last = list(texts) if len(texts) > 1 else ()
        return self._inner.embed_documents(texts)

    def embed_query(self, text: str) -> Vector:
        return self._inner.embed_query(text)

    def describe(self) -> Mapping[str, Any]:
        return self._inner.describe()


class MovedClock:
    """The real time, moved."""

    def __init__(self, hours: float = 0) -> None:
        self.hours = hours

    def now_ns(self) -> int:
        return time.time_ns() + int(self.hours * 3.6e12)


def watched_project(file: Path, crasher: Crasher, *, clock: MovedClock | None = None, **parts: Any) -> Project:
    """A project of real parts, a cheap model, and calls that may die."""
    project = open_project(file, parser=FakeParser(), **parts)
    share_model(project)
    project.models.open = lambda facts, space: CountedEmbedder(space, lambda: _held(project, space))
    if clock is not None:
        move_clock(project, clock)
    crasher.wrap(project.store, "store", STORE_WRITES)
    crasher.wrap(project.ledger, "ledger", LEDGER_WRITES)
    crasher.wrap(project.artifacts, "artifacts", ("drop",))
    for stage, methods in ARTIFACT_WRITES.items():
        setattr(project.artifacts, stage, _watching(getattr(project.artifacts, stage), crasher, stage, methods))
    return project


def move_clock(project: Project, clock: Any) -> None:
    """Gives the project and its sources this clock."""
    settings = project.settings
    project.clock = clock
    project.__dict__["sources"] = {s.name: open_source(s, base=settings.root, clock=clock) for s in settings.sources}


def share_model(project: Project) -> None:
    """The facts and the tokenizer of the packaged model, read once for all projects."""
    facts, tokenizers = _model(project.settings.embedding.model)
    project.models._facts[project.settings.embedding.model] = facts
    project.models._tokenizers.update(tokenizers)


@lru_cache(maxsize=1)
def _model(name: str) -> tuple[ModelFacts, Mapping[str, Any]]:
    folder = Path(tempfile.mkdtemp(prefix="model-"))
    settings = load_settings(write_settings(folder), {})
    facts = inspect_model(name, base=folder, cache_dir=folder, needs_weights=True)
    models = Models(settings, cache_dir=folder)
    models._facts[name] = facts
    space = VectorSpace(name, facts.weights_sha256, facts.dimension, "cosine", True, "", "", 512)
    tokenizer = models.tokenizer(space)
    shutil.rmtree(folder)
    return facts, {facts.path: tokenizer}


def _held(project: Project, space: VectorSpace) -> set[bytes]:
    artifact = project.artifacts.vectors(space_fingerprint(space))
    return {digest for bucket in artifact.buckets() for digest in artifact.digests(bucket)}


def _watching(original: Callable[[str], Any], crasher: Crasher, stage: str, methods: Sequence[str]) -> Callable[[str], Any]:
    return lambda name: crasher.wrap(original(name), stage, methods)


@contextmanager
def quick_gate() -> Iterator[None]:
    """The gate with fewer questions."""
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), value in QUICK_GATE.items():
            patch.setattr(module, name, value)
        yield


# --- what is read back ----------------------------------------------------------------------------------------------


def points_of(project: Project, collection: str) -> Dump:
    """Everything that is stored of a collection."""
    points: Dump = {}
    for point in project.store.scroll(collection, with_vectors=True):
        assert point.id not in points, f"{point.id} is there twice"
        assert point.vector is not None
        points[point.id] = (dict(point.payload), point.vector)
    return points


def assert_equal(found: Dump, wanted: Dump) -> None:
    """Ids, payloads, and vectors within 1e-5."""
    assert {key: payload for key, (payload, _) in found.items()} == {key: payload for key, (payload, _) in wanted.items()}
    for key, (_, vector) in found.items():
        difference = float(np.abs(vector - wanted[key][1]).max())
        assert difference <= VECTOR_TOLERANCE, f"vector of {key} is off by {difference}"


def assert_whole(project: Project, record: CollectionRecord, spec: IndexSpec, *, is_live: bool, wanted: Dump) -> None:
    """Fsck has nothing to say of the collection, and it equals the fresh build."""
    report = project.parts(record, spec).fsck(is_live=is_live).check(project.buckets, SILENT)
    assert not report.findings, f"{record.name} ({record.state}): {report.findings}"
    assert_equal(points_of(project, record.name), wanted)


def assert_rest(project: Project, specs: "Specs", files: Mapping[str, str], *, is_indexed: bool = True) -> None:
    """The live and every retired collection equal the fresh build of the files, each under its own spec.

    ``is_indexed``: the last work was one that applies changes of the settings in place; a rollback is none.
    """
    chosen = project.collections()
    spec = chosen.target_spec if is_indexed else project.parts(chosen.target).spec
    assert_whole(project, chosen.target, spec, is_live=True, wanted=specs.fresh(spec, files))
    for record in chosen.retired:
        if project.store.metadata(record.name) is not None:
            spec = project.parts(record).spec
            assert_whole(project, record, spec, is_live=False, wanted=specs.fresh(spec, files))


# --- the fresh build ------------------------------------------------------------------------------------------------


def is_bad(text: str) -> bool:
    """Whether the parser refuses it."""
    return "\0" in text


def read_files(docs: Path) -> dict[str, str]:
    """Every file of a folder by its path."""
    return {str(file.relative_to(docs)): file.read_text() for file in sorted(docs.rglob("*")) if file.is_file()}


def build_fresh(changes: Mapping[str, Any], files: Mapping[str, str]) -> Dump:
    """What an empty state becomes from these files under these settings."""
    folder = Path(tempfile.mkdtemp(prefix="fresh-"))
    project = open_project(write_settings(folder, **{**BASE, **changes}), parser=FakeParser())
    share_model(project)
    try:
        fill(folder / "docs", files)
        index_once(project)
        return points_of(project, project.target.name)
    finally:
        project.close()
        shutil.rmtree(folder)


class FreshBuilds:
    """Fresh builds, by document: a document's points depend on nothing else, and each is built only once.

    ``build_fresh`` of all files at once is the same, slower; some histories end with one.
    """

    def __init__(self, universe: Mapping[str, Sequence[str]]) -> None:
        """``universe``: texts that a path may have; a build that is needed takes some of them along."""
        self._universe = universe
        self._known: dict[tuple[str, str, str], Dump] = {}

    def of(self, changes: Mapping[str, Any], files: Mapping[str, str]) -> Dump:
        """The points of a fresh build of these files."""
        key = json.dumps([changes.get("embedding"), changes.get("chunking")], sort_keys=True)
        good = {path: text for path, text in files.items() if not is_bad(text)}
        missing = {path: text for path, text in good.items() if (key, path, text) not in self._known}
        if missing:
            self._build(key, changes, {**self._next(key), **missing})
        return {point: row for path, text in good.items() for point, row in self._known[key, path, text].items()}

    def _next(self, key: str) -> dict[str, str]:
        unknown = {path: [t for t in texts if (key, path, t) not in self._known] for path, texts in self._universe.items()}
        return {path: texts[number % len(texts)] for number, (path, texts) in enumerate(unknown.items()) if texts}

    def _build(self, key: str, changes: Mapping[str, Any], files: Mapping[str, str]) -> None:
        points = build_fresh(changes, files)
        for path, text in files.items():
            own = {name: point for name, point in points.items() if point[0]["uri"] == f"docs/{path}"}
            assert own, f"the fresh build left out {path}"
            self._known[key, path, text] = own


class Specs:
    """Which settings a recorded spec came from."""

    def __init__(self, builds: FreshBuilds) -> None:
        self._builds = builds
        self._changes: dict[str, Mapping[str, Any]] = {}

    def note(self, spec: IndexSpec, changes: Mapping[str, Any]) -> None:
        self._changes[spec_fingerprint(spec)] = changes

    def changes_of(self, spec: IndexSpec) -> Mapping[str, Any]:
        return self._changes[spec_fingerprint(spec)]

    def fresh(self, spec: IndexSpec, files: Mapping[str, str]) -> Dump:
        """The fresh build of the files under the spec."""
        return self._builds.of(self.changes_of(spec), files)


# --- changes of files -----------------------------------------------------------------------------------------------


def twin(text: str) -> str:
    """Another text of the same length; the twin of the twin is the text."""
    words = ("described", "explained") if "described" in text else ("explained", "described")
    return text.replace(*words)


def edit_unseen(file: Path) -> None:
    """Another text of the same length, the time of the last change put back."""
    modified_ns = file.stat().st_mtime_ns
    file.write_text(twin(file.read_text()))
    set_times(file, modified_ns)


def set_times(file: Path, modified_ns: int) -> None:
    """Makes the file say that it was changed then."""
    os.utime(file, ns=(modified_ns, modified_ns))
