"""The store on a Qdrant server or cluster."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import grpc
from qdrant_client import QdrantClient, models
from qdrant_client.connection import get_channel

from rag_pipeline.adapters import qdrant_layout as layouts
from rag_pipeline.adapters.qdrant_layout import DENSE, SPARSE, SYSTEM, rejected
from rag_pipeline.adapters.qdrant_request import shipped_sparse
from rag_pipeline.adapters.qdrant_server_errors import call, write
from rag_pipeline.adapters.qdrant_server_layout import (
    NO_INDEXING,
    dense_params,
    optimizers_while_loading,
    payload_indexes,
    sparse_params,
)
from rag_pipeline.adapters.qdrant_upserts import EncodedSender, PointWriter, ShippedSender
from rag_pipeline.errors import BackendUnavailableError
from rag_pipeline.schema import CollectionInfo, CollectionLayout, Hit, Point, SparseVector, StoredPoint, Vector
from rag_pipeline.settings.store import ServerStoreSettings

Result = TypeVar("Result")

METADATA_KEY = "rag_pipeline"
"""One key of the collection's metadata holds all of ours as JSON text, since a server merges metadata key by key."""

PAGE_IDS = 10_000
PAGE_POINTS = 256
OPTIMIZE_WAIT_S = 1800.0
OPTIMIZE_POLL_S = 0.2
DEFAULT_PORT = 6333

_DISTANCES = {"cosine": models.Distance.COSINE, "dot": models.Distance.DOT, "euclid": models.Distance.EUCLID}


class QdrantServerStore:
    """Port ``VectorStore`` over HTTP and gRPC; connects at the first use.

    ``client`` replaces the connection to ``url``, and stays open at ``close``. The gRPC port is the one after the port
    of the URL, as servers have it by default. Vectors of a cosine collection come back normalised.
    """

    def __init__(
        self,
        *,
        url: str,
        api_key: str | None,
        prefer_grpc: bool = True,
        timeout_s: float = 60,
        batch_points: int = 256,
        batch_mb: float = 16,
        write_streams: int = 2,
        write_ordering: Literal["weak", "medium", "strong"] = "medium",
        tuning: ServerStoreSettings | None = None,
        client: QdrantClient | None = None,
    ) -> None:
        self._url = url
        self._api_key = api_key
        self._prefer_grpc = prefer_grpc
        self._timeout_s = timeout_s
        self._ordering = models.WriteOrdering(write_ordering)
        self._tuning = tuning or ServerStoreSettings(kind="server", url=url)
        self._given_client = client
        self._own_client: QdrantClient | None = None
        self._channel: grpc.Channel | None = None
        self._writer = PointWriter(
            shipped=ShippedSender(self._client, ordering=self._ordering, is_grpc=prefer_grpc),
            encoded=self._open_encoded if prefer_grpc and client is None else None,
            ordering=self._ordering,
            batch_points=batch_points,
            batch_bytes=batch_mb * 2**20,
            streams=write_streams if client is None else 1,
        )

    # --- collections ------------------------------------------------------------------------------------------------

    def create_collection(self, name: str, layout: CollectionLayout) -> None:
        layouts.check_name(name)
        if name in self._aliases():
            raise rejected(f"'{name}' is an alias already; give the collection another name")
        if not self._exists(name):
            self._make(name, layout)
        info = self._info(name)
        if _dimension(name, info) != layout.dimension:
            raise layouts.other_dimension(name, _dimension(name, info), layout.dimension)
        self._create_indexes(name, present=set(info.payload_schema))

    def _make(self, name: str, layout: CollectionLayout) -> None:
        if layout.distance not in _DISTANCES:
            raise rejected(f"unknown distance '{layout.distance}'; use one of {', '.join(_DISTANCES)}")
        metadata = _packed(layout.metadata)
        dense = dense_params(self._tuning, size=layout.dimension, distance=_DISTANCES[layout.distance])
        self._call(
            f"making '{name}'",
            # After a lost answer the second try finds what the first one made.
            lambda client: (
                client.collection_exists(name)
                or client.create_collection(
                    name,
                    vectors_config={DENSE: dense},
                    sparse_vectors_config={SPARSE: sparse_params(self._tuning)},
                    optimizers_config=optimizers_while_loading(self._tuning.optimizers),
                    shard_number=self._tuning.shard_number,
                    replication_factor=self._tuning.replication_factor,
                    write_consistency_factor=self._tuning.write_consistency_factor,
                    metadata=metadata,
                )
            ),
        )
        self._check_metadata(name, metadata)

    def _create_indexes(self, name: str, *, present: set[str]) -> None:
        for key, index in payload_indexes(self._tuning).items():
            if key not in present:
                self._create_index(name, key=key, index=index)

    def _create_index(self, name: str, *, key: str, index: models.KeywordIndexParams | models.IntegerIndexParams) -> None:
        self._write(f"indexing '{key}' of '{name}'", lambda client: client.create_payload_index(name, key, index, wait=True))

    def collections(self) -> list[str]:
        return sorted(item.name for item in self._call("listing collections", _get_collections))

    def describe(self, name: str) -> CollectionInfo | None:
        layouts.check_name(name)
        if not self._exists(name):
            return None
        info = self._info(name)
        return CollectionInfo(name, dimension=_dimension(name, info), points=self.count(name), metadata=_unpacked(info))

    def metadata(self, name: str) -> Mapping[str, Any] | None:
        layouts.check_name(name)
        return _unpacked(self._info(name)) if self._exists(name) else None

    def set_metadata(self, name: str, metadata: Mapping[str, Any]) -> None:
        packed = _packed(metadata)
        self._call(f"describing '{name}'", lambda client: client.update_collection(name, metadata=packed))
        self._check_metadata(name, packed)

    def _check_metadata(self, name: str, wanted: Mapping[str, str]) -> None:
        if (self._info(name).config.metadata or {}).get(METADATA_KEY) != wanted[METADATA_KEY]:
            raise rejected(f"the server did not keep the metadata of '{name}'; Qdrant 1.19 or newer is needed")

    def drop_collection(self, name: str) -> None:
        holders = sorted(alias for alias, target in self._aliases().items() if target == name)
        if holders:
            raise layouts.behind_alias(name, holders)
        if self._exists(name):
            self._call(f"dropping '{name}'", lambda client: client.delete_collection(name))

    def resolve_alias(self, alias: str) -> str | None:
        return self._aliases().get(alias)

    def switch_alias(self, alias: str, collection: str) -> None:
        layouts.check_name(alias)
        names = self.collections()
        if collection not in names:
            raise layouts.missing_collection(collection)
        if alias in names:
            raise rejected(f"'{alias}' is a collection; an alias needs a name of its own")
        self._call(f"switching '{alias}'", lambda client: client.update_collection_aliases(self._switch(alias, collection)))
        if (target := self.resolve_alias(alias)) != collection:
            raise BackendUnavailableError(f"'{alias}' still points at '{target}'; switch it again", system=SYSTEM)

    def _switch(self, alias: str, collection: str) -> list[models.DeleteAliasOperation | models.CreateAliasOperation]:
        """Both steps for one request, which a server applies as one; asked anew at every try."""
        create = models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=collection, alias_name=alias))
        if alias not in self._aliases():
            return [create]
        return [models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)), create]

    # --- points -----------------------------------------------------------------------------------------------------

    def upsert(self, name: str, points: Sequence[Point]) -> None:
        layouts.check_points(points, _dimension(name, self._info(name)))
        self._writer.write(name, points)

    def delete(self, name: str, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), PAGE_IDS):
            selector = models.PointIdsList(points=list(ids[start : start + PAGE_IDS]))
            self._delete_batch(name, selector)

    def _delete_batch(self, name: str, selector: models.PointIdsList) -> None:
        self._write(
            f"deleting {len(selector.points)} points from '{name}'",
            lambda client: client.delete(name, selector, wait=True, ordering=self._ordering),
        )

    def point_ids(self, name: str, bucket: str) -> set[str]:
        query = {"limit": PAGE_IDS, "with_payload": False, "with_vectors": False}
        return {str(record.id) for record in self._records(name, bucket, query)}

    def scroll(self, name: str, *, bucket: str | None = None, with_vectors: bool = False) -> Iterator[StoredPoint]:
        query = {"limit": PAGE_POINTS, "with_payload": True, "with_vectors": with_vectors}
        for record in self._records(name, bucket, query):
            vector, sparse = layouts.read_vectors(record.vector) if with_vectors else (None, None)
            yield StoredPoint(id=str(record.id), payload=record.payload or {}, vector=vector, sparse=sparse)

    def _records(self, name: str, bucket: str | None, query: Mapping[str, Any]) -> Iterator[models.Record]:
        condition = layouts.build_filter(models, None if bucket is None else {"bucket": bucket})
        offset: Any = None
        while True:
            records, offset = self._page(name, {**query, "scroll_filter": condition, "offset": offset})
            yield from records
            if offset is None:
                return

    def _page(self, name: str, query: Mapping[str, Any]) -> tuple[list[models.Record], Any]:
        return self._call(f"reading '{name}'", lambda client: client.scroll(name, **query))

    def count(self, name: str) -> int:
        return self._call(f"counting '{name}'", lambda client: client.count(name, exact=True).count)

    def optimize(self, name: str) -> None:
        was_loading = self._info(name).config.optimizer_config.indexing_threshold == NO_INDEXING
        if was_loading:
            self._call(
                f"starting to index '{name}'", _set_indexing_threshold(name, self._tuning.optimizers.indexing_threshold_kb)
            )
        self._wait_for_green(name, times=2 if was_loading else 1)

    def _wait_for_green(self, name: str, *, times: int) -> None:
        """Until it is green so many times in a row: a server says green for a moment before its optimizers start."""
        deadline_s, seen = time.monotonic() + OPTIMIZE_WAIT_S, 0
        while (seen := seen + 1 if self._is_green(name) else 0) < times:
            if time.monotonic() > deadline_s:
                raise BackendUnavailableError(f"'{name}' is not green after {OPTIMIZE_WAIT_S:g} s; run again", system=SYSTEM)
            time.sleep(OPTIMIZE_POLL_S)

    def _is_green(self, name: str) -> bool:
        status = self._info(name).status
        if status == models.CollectionStatus.RED:
            raise rejected(f"the server reports '{name}' as damaged (red); see its log")
        if status == models.CollectionStatus.GREY:
            self._call(f"waking '{name}'", _start_optimizers(name))
        return status == models.CollectionStatus.GREEN

    def server_version(self) -> str | None:
        return self._call("asking for the version", lambda client: client.info().version)

    def free_bytes(self) -> int | None:
        return None

    def purge(self, name: str) -> bool:  # noqa: ARG002 - the port asks for it
        """False: when the server's vacuum rewrites its files, and what its snapshots hold, is the server's."""
        return False

    def let_others_in(self) -> None:
        """Nothing: a server serves everybody at once."""

    # --- search -----------------------------------------------------------------------------------------------------

    def search_dense(self, name: str, vector: Vector, *, limit: int, filters: Mapping[str, Any] | None = None) -> list[Hit]:
        layouts.check_vector(vector, len(vector), owner="question")
        query = (vector.tolist(), DENSE, layouts.search_params(models, self._tuning))
        return self._search(name, query, limit=limit, filters=filters)

    def search_sparse(
        self, name: str, vector: SparseVector, *, limit: int, filters: Mapping[str, Any] | None = None
    ) -> list[Hit]:
        return self._search(name, (shipped_sparse(vector), SPARSE, None), limit=limit, filters=filters)

    def _search(self, name: str, query: tuple[Any, str, Any], *, limit: int, filters: Mapping[str, Any] | None) -> list[Hit]:
        condition = layouts.build_filter(models, filters)
        if layouts.matches_nothing(filters):
            return []
        response = self._call(
            f"searching '{name}'",
            lambda client: client.query_points(
                name,
                query=query[0],
                using=query[1],
                search_params=query[2],
                query_filter=condition,
                limit=limit,
                with_payload=True,
            ),
        )
        return [Hit(str(point.id), point.score, point.payload or {}) for point in response.points]

    # --- connection -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        if self._own_client is not None:
            self._own_client.close()
            self._own_client = None
        if self._channel is not None:
            self._writer.forget()
            self._channel.close()
            self._channel = None

    def _client(self) -> QdrantClient:
        if self._given_client is not None:
            return self._given_client
        if self._own_client is None:
            self._own_client = self._connect()
        return self._own_client

    def _open_encoded(self) -> EncodedSender:
        """A channel of its own for bytes that are ready, since the client's takes its own messages only."""
        url = urlsplit(self._url)
        headers = [("api-key", self._api_key)] if self._api_key else []
        host, port = url.hostname or "localhost", (url.port or DEFAULT_PORT) + 1
        self._channel = get_channel(host, port, url.scheme == "https", metadata=headers)
        return EncodedSender(self._channel, ordering=self._ordering, timeout_s=self._timeout_s)

    def _connect(self) -> QdrantClient:
        port = urlsplit(self._url).port or DEFAULT_PORT
        return QdrantClient(
            url=self._url,
            grpc_port=port + 1,
            prefer_grpc=self._prefer_grpc,
            api_key=self._api_key,
            timeout=max(1, round(self._timeout_s)),
            check_compatibility=False,
        )

    def _call(self, doing: str, request: Callable[[QdrantClient], Result]) -> Result:
        return call(doing, lambda: request(self._client()))

    def _write(self, doing: str, request: Callable[[QdrantClient], models.UpdateResult]) -> None:
        write(doing, lambda: request(self._client()))

    def _exists(self, name: str) -> bool:
        return name in self.collections()

    def _info(self, name: str) -> models.CollectionInfo:
        return self._call(f"looking at '{name}'", lambda client: client.get_collection(name))

    def _aliases(self) -> dict[str, str]:
        aliases = self._call("reading aliases", lambda client: client.get_aliases().aliases)
        return {item.alias_name: item.collection_name for item in aliases}


def _get_collections(client: QdrantClient) -> list[models.CollectionDescription]:
    return client.get_collections().collections


def _start_optimizers(name: str) -> Callable[[QdrantClient], bool]:
    """A change of nothing, which makes a server optimize what it left alone after a restart."""
    return lambda client: client.update_collection(name, optimizers_config=models.OptimizersConfigDiff())


def _set_indexing_threshold(name: str, threshold_kb: int) -> Callable[[QdrantClient], bool]:
    diff = models.OptimizersConfigDiff(indexing_threshold=threshold_kb)
    return lambda client: client.update_collection(name, optimizers_config=diff)


def _packed(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {METADATA_KEY: layouts.check_metadata(metadata)}


def _unpacked(info: models.CollectionInfo) -> dict[str, Any]:
    metadata: dict[str, Any] = json.loads((info.config.metadata or {}).get(METADATA_KEY, "{}"))
    return metadata


def _dimension(name: str, info: models.CollectionInfo) -> int:
    vectors = info.config.params.vectors
    if not isinstance(vectors, dict) or DENSE not in vectors:
        raise rejected(f"collection '{name}' was not made by this pipeline: it has no vector named '{DENSE}'")
    return vectors[DENSE].size
