"""Readers ask while the alias goes back and forth: no error, no empty answer, no model with another one's collection."""

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient

from rag_pipeline.adapters.qdrant_server_store import QdrantServerStore
from rag_pipeline.indexing.identity import space_fingerprint, spec_from_values
from rag_pipeline.indexing.release import switch
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.operations.release import release, roll_back
from rag_pipeline.ports import VectorStore
from rag_pipeline.project import Project
from rag_pipeline.retrieval.search import Searcher
from rag_pipeline.schema import Hit, Vector, VectorSpace
from rag_pipeline_tests.fakes.embedder import HashEmbedder
from rag_pipeline_tests.projects import embedder_of, write_settings
from rag_pipeline_tests.release.flows import NEW_MODEL, build_candidate, closing, live_name, make_live, open_quick, story

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning")
REAL_STORES = ["edge", *(["server"] if os.environ.get("QDRANT_URL") else [])]
STORES = [*REAL_STORES, pytest.param("memory", marks=pytest.mark.deep)]
DOCUMENTS = 12
READERS = 8
SWITCHES = 50
OTHER_CHUNKS: dict[str, Any] = {"default": {"size": 96}, "allow_unusual_sizes": True}
"""No point of one collection is in the other, so that every hit says where it comes from."""


class Log:
    """Which model made which vector, and what each thread searched since it was last asked."""

    def __init__(self) -> None:
        self.maker: dict[bytes, str] = {}
        self._mine = threading.local()

    def note(self, collection: str, maker: str | None) -> None:
        self.take(keep=True).append((collection, maker))

    def take(self, *, keep: bool = False) -> list[tuple[str, str | None]]:
        found: list[tuple[str, str | None]] = self._mine.__dict__.setdefault("searches", [])
        if not keep:
            self._mine.searches = []
        return found


class NotingEmbedder(HashEmbedder):
    """Says of every question's vector which model made it."""

    def __init__(self, space: VectorSpace, log: Log) -> None:
        inner = embedder_of(space)
        self.__dict__.update(inner.__dict__)
        self._log, self._name = log, space_fingerprint(space)

    def embed_query(self, text: str) -> Vector:
        vector = super().embed_query(text)
        self._log.maker[vector.tobytes()] = self._name
        return vector


class NotingStore:
    """A store that notes each search."""

    def __init__(self, store: VectorStore, log: Log) -> None:
        self._store = store
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def search_dense(self, name: str, vector: Vector, **options: Any) -> list[Hit]:
        self._log.note(name, self._log.maker.get(vector.tobytes()))
        return self._store.search_dense(name, vector, **options)

    def search_sparse(self, name: str, vector: Any, **options: Any) -> list[Hit]:
        self._log.note(name, None)
        return self._store.search_sparse(name, vector, **options)


@dataclass
class Outcome:
    """What the readers met."""

    searches: int = 0
    errors: list[str] = field(default_factory=list)
    empty: int = 0
    mixed: list[str] = field(default_factory=list)
    by_collection: Counter[str] = field(default_factory=Counter)


class Storm:
    """Two live-worthy collections of one project, and readers of it."""

    def __init__(self, project: Project, log: Log) -> None:
        self.project = project
        self.log = log
        records = project.ledger.collections(project.settings.alias)
        self.space = {record.name: space_fingerprint(spec_from_values(record.spec).vector_space) for record in records}
        self.ids = {record.name: {p.id for p in project.store.scroll(record.name)} for record in records}
        one, other = self.ids.values()
        assert one
        assert other
        assert not one & other
        self.outcome = Outcome()
        self._lock = threading.Lock()

    def blow(self, searches: int, switches: int) -> Outcome:
        """Switches spread evenly over so many searches."""
        searcher = self.project.searcher()
        share = searches // READERS
        readers = [threading.Thread(target=self._read, args=(searcher, share, turn)) for turn in range(READERS)]
        for reader in readers:
            reader.start()
        for turn in range(switches):
            while self.outcome.searches < turn * share * READERS // switches:
                time.sleep(0.001)
            self._switch(turn)
        for reader in readers:
            reader.join()
        return self.outcome

    def _switch(self, turn: int) -> None:
        """Forward by the switch of a release, back by a rollback; both with ledger, lock and decision."""
        project = self.project
        before = live_name(project)
        if turn % 2:
            roll_back(project, reason="storm", by="test", progress=SILENT)
        else:
            records = project.ledger.collections(project.settings.alias)
            record = next(record for record in records if record.name != before)
            with project.writer_lock():
                switch(project.ledger, project.store, record=record, kind="switch", content={"reason": "storm"})
        assert live_name(project) != before

    def _read(self, searcher: Searcher, amount: int, turn: int) -> None:
        for number in range(amount):
            try:
                hits = searcher.search(f"what meets {_words(turn + number)}", limit=5)
                self._judge(hits)
            except Exception as error:  # noqa: BLE001 - whatever a reader meets counts
                with self._lock:
                    self.outcome.errors.append(repr(error))
                    self.outcome.searches += 1

    def _judge(self, hits: list[Hit]) -> None:
        searches = self.log.take()
        collections = {collection for collection, _ in searches}
        fault = self._fault(hits, collections, {maker for _, maker in searches if maker})
        with self._lock:
            self.outcome.searches += 1
            self.outcome.empty += not hits
            self.outcome.by_collection.update(collections)
            if fault:
                self.outcome.mixed.append(fault)

    def _fault(self, hits: list[Hit], collections: set[str], makers: set[str]) -> str | None:
        if len(collections) != 1 or len(makers) != 1:
            return f"one question went to {sorted(collections)} with vectors of {sorted(makers)}"
        (collection,) = collections
        if makers != {self.space[collection]}:
            return f"{collection} was searched with a vector of {makers}"
        foreign = {hit.id for hit in hits} - self.ids[collection]
        return f"{len(foreign)} hits are not of {collection}" if foreign else None


def _words(number: int) -> str:
    return story(number % DOCUMENTS).splitlines()[0].split(": ")[1]


@pytest.fixture(params=STORES)
def store_parts(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What a project needs besides its settings to use this kind of store."""
    if request.param == "edge":
        yield {}
        return
    url = os.environ.get("QDRANT_URL", "")
    api_key = os.environ.get("QDRANT_API_KEY")
    client = QdrantClient(url=url, api_key=api_key) if request.param == "server" else QdrantClient(":memory:")
    yield {"store": QdrantServerStore(url=url, api_key=api_key, client=client)}
    client.close()


@pytest.fixture
def storm(tmp_path: Path, store_parts: dict[str, Any]) -> Iterator[Storm]:
    alias = f"storm-{uuid.uuid4().hex[:8]}"
    make_live(tmp_path, documents=DOCUMENTS, alias=alias, parts=store_parts)
    log = Log()
    file = write_settings(tmp_path, alias=alias, chunking=OTHER_CHUNKS, embedding=NEW_MODEL)
    project = open_quick(file, **store_parts)
    project.models.open = lambda facts, space: NotingEmbedder(space, log)
    build_candidate(project)
    release(project, approve=False, by="test", progress=SILENT)
    store = project.store
    project.store = NotingStore(store, log)  # type: ignore[assignment]
    with closing(project):
        yield Storm(project, log)
        _clear(store, alias)


def _clear(store: VectorStore, alias: str) -> None:
    """Leaves nothing on a shared server."""
    if not isinstance(store, QdrantServerStore):
        return
    client: Any = store._given_client
    client.delete_collection(store.resolve_alias(alias))
    for name in store.collections():
        if name.startswith(alias):
            client.delete_collection(name)


def assert_calm(outcome: Outcome, searches: int) -> None:
    assert outcome.errors == []
    assert outcome.mixed == []
    assert outcome.empty == 0
    assert outcome.searches == searches
    assert len(outcome.by_collection) == 2
    assert min(outcome.by_collection.values()) > searches / 10


def test_readers_feel_nothing_of_switches(storm: Storm) -> None:
    assert_calm(storm.blow(1_000, SWITCHES), 1_000)
    assert len(storm.project.ledger.decisions(kind="rollback")) == SWITCHES // 2


@pytest.mark.deep
@pytest.mark.parametrize("store_parts", REAL_STORES, indirect=True)
def test_readers_feel_nothing_of_switches_in_many_searches(storm: Storm) -> None:
    assert_calm(storm.blow(20_000, SWITCHES), 20_000)


# --- readers in another process -------------------------------------------------------------------------------------


class TardyEmbedder(HashEmbedder):
    """Takes a moment for each batch, as a model does."""

    def embed_documents(self, texts: Any) -> Any:
        time.sleep(0.02)
        return super().embed_documents(texts)


def wait_until(is_so: Callable[[], bool], what: str, wait_s: float = 60) -> None:
    ends_s = time.monotonic() + wait_s
    while not is_so():
        assert time.monotonic() < ends_s, what
        time.sleep(0.05)


@pytest.mark.deep
def test_another_process_reads_while_one_reindexes_and_switches(tmp_path: Path) -> None:
    embedding = {**NEW_MODEL, "batch_tokens": 256}
    make_live(tmp_path, documents=DOCUMENTS)
    file = write_settings(tmp_path, chunking=OTHER_CHUNKS, embedding=embedding)
    stop, answers = tmp_path / "stop", tmp_path / "answers.jsonl"
    command = [sys.executable, "-m", "rag_pipeline_tests.release.reader", str(file), str(stop)]
    with answers.open("w") as output, subprocess.Popen(command, stdout=output) as reader:
        try:
            wait_until(lambda: answers.stat().st_size > 0, "the reader has asked once")
            candidate, former = _reindex_and_release(file)
            switched_at = len(answers.read_text().splitlines())
            wait_until(lambda: len(answers.read_text().splitlines()) >= switched_at + 3, "the reader asks after the switch")
        finally:
            stop.touch()
            reader.wait(60)
    assert_answers([json.loads(line) for line in answers.read_text().splitlines()], former, candidate)


def _reindex_and_release(file: Path) -> tuple[set[str], set[str]]:
    """Ids of the new and of the former live collection."""
    project = open_quick(file)
    project.models.open = lambda facts, space: _tardy(space)
    try:
        former = live_name(project)
        candidate = build_candidate(project)
        done = release(project, approve=False, by="test", progress=SILENT)
        assert done.collection == candidate.name
        ids = [{point.id for point in project.store.scroll(name)} for name in (candidate.name, former)]
        return ids[0], ids[1]
    finally:
        project.close()


def _tardy(space: VectorSpace) -> HashEmbedder:
    embedder = TardyEmbedder(space.dimension)
    embedder.__dict__.update(embedder_of(space).__dict__)
    return embedder


def _side(ids: set[str], former: set[str], candidate: set[str]) -> str:
    if ids <= former:
        return "old"
    return "new" if ids <= candidate else "mixed"


def assert_answers(answers: list[dict[str, Any]], former: set[str], candidate: set[str]) -> None:
    assert [answer["error"] for answer in answers if "error" in answer] == []
    assert all(answer["wanted"] in answer["paths"] for answer in answers)
    sides = [_side(set(answer["ids"]), former, candidate) for answer in answers]
    assert sides == sorted(sides, reverse=True)  # old ones first, then new ones
    assert set(sides) == {"old", "new"}
    assert sides.count("old") > 2
