"""A ledger in a temporary folder and a store in memory, for tests of the rules over collections."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdrant_client import QdrantClient

from rag_pipeline.adapters.qdrant_server_store import QdrantServerStore
from rag_pipeline.adapters.sql_ledger import SqlLedger
from rag_pipeline.indexing.collections import Collections, choose_collections
from rag_pipeline.indexing.specs import SpecPart
from rag_pipeline.schema import CollectionLayout, CollectionRecord, CollectionState, IndexSpec
from rag_pipeline_tests.specs import SPEC, record_of

IN_PLACE = dict.fromkeys((SpecPart.PARSING, SpecPart.CHUNKING, SpecPart.MASKING, SpecPart.POINTS), "in_place")
BESIDE = dict.fromkeys(IN_PLACE, "candidate")


@dataclass
class Stored:
    """What is known and what stands."""

    ledger: SqlLedger
    store: QdrantServerStore
    folder: Path

    def stand(self, record: CollectionRecord, *, is_known: bool = True, is_live: bool = False) -> CollectionRecord:
        """The collection, made in the store, and in the ledger if it is known there."""
        layout = CollectionLayout(dimension=8, distance="cosine", metadata=dict(record.spec))
        self.store.create_collection(record.name, layout)
        if is_known:
            self.ledger.put_collection(record)
        if is_live:
            self.store.switch_alias(record.alias, record.name)
        return record

    def choose(self, spec: IndexSpec = SPEC, strategy: Mapping[SpecPart, str] = IN_PLACE) -> Collections:
        """The collections under these settings."""
        return choose_collections(self.ledger, self.store, alias="docs", spec=spec, strategy=strategy)

    def states(self) -> dict[str, CollectionState]:
        """By name, of those that are not dropped."""
        return {record.name: record.state for record in self.ledger.collections("docs")}

    def decisions(self, kind: str | None = None) -> list[Mapping[str, Any]]:
        """What was decided, oldest first."""
        return [decision.content for decision in reversed(self.ledger.decisions(kind=kind))]


@contextmanager
def stored_in(folder: Path) -> Iterator[Stored]:
    """Both, empty."""
    store = QdrantServerStore(url="", api_key=None, client=QdrantClient(":memory:"))
    yield Stored(open_ledger(folder), store, folder)
    store.close()


def open_ledger(folder: Path, *, lock: str = "writer.lock") -> SqlLedger:
    """The ledger of a folder; with a ``lock`` of its own it gets in although another one holds the writer lock."""
    return SqlLedger(f"sqlite:///{folder / 'ledger.sqlite'}", lock_path=folder / lock)


def live(stored: Stored) -> CollectionRecord:
    """A live collection of the plain spec."""
    return stored.stand(record_of(SPEC), is_live=True)
