"""A Qdrant server on loopback: real gRPC messages in and out, qdrant-client's in-memory mode behind them.

It proves what the adapter puts into messages and reads from them. It is no Qdrant: no disk, no cluster, no HNSW. Held to
the contract of VectorStore through the adapter.

Tests set ``version``, ``is_meeting`` to let no upsert pass alone, ``fails_with``, ``write_status``, ``collection_status`` (and
``next_statuses``, told one by one before it), and read ``calls``, ``writes``, ``created``,
``field_indexes``, ``queries`` and ``indexing_thresholds_kb``.
"""

import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import grpc
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as messages
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

Answer = TypeVar("Answer")


class LoopbackQdrant:
    """Takes messages of up to 4 MiB, gRPC's own default, at the port ``port``."""

    def __init__(self) -> None:
        self.version = "1.19.1"
        self.fails_with: grpc.StatusCode | None = None
        self.is_meeting = False
        self._meeting = threading.Barrier(2)
        self.write_status: int = messages.UpdateStatus.Completed
        self.collection_status = models.CollectionStatus.GREEN
        self.next_statuses: list[models.CollectionStatus] = []
        self.indexing_thresholds_kb: dict[str, int] = {}
        self.calls: list[str] = []
        self.writes: list[Any] = []
        self.created: list[Any] = []
        self.field_indexes: list[Any] = []
        self.queries: list[Any] = []
        self.client = QdrantClient(":memory:")
        self._mutex = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(max_workers=2))
        messages.add_CollectionsServicer_to_server(_Collections(self), self._server)
        messages.add_PointsServicer_to_server(_Points(self), self._server)
        messages.add_QdrantServicer_to_server(_Root(self), self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    @property
    def url(self) -> str:
        """The HTTP address, at which nobody listens: gRPC is at the next port."""
        return f"http://127.0.0.1:{self.port - 1}"

    def meet(self) -> None:
        """Holds an upsert until a second one is here as well, where the test wants to see two at once."""
        if self.is_meeting:
            self._meeting.wait(10)

    def stop(self) -> None:
        self._server.stop(None).wait()

    def answer(self, context: grpc.ServicerContext, name: str, act: Callable[[], Answer]) -> Answer:
        """What the act returns, or the failure that the test or the in-memory mode wants."""
        with self._mutex:
            self.calls.append(name)
            if self.fails_with is not None:
                context.abort(self.fails_with, "as the test wants")
            try:
                with warnings.catch_warnings(action="ignore", category=UserWarning):
                    return act()
            except ValueError as error:
                is_missing = "not found" in str(error)
                context.abort(grpc.StatusCode.NOT_FOUND if is_missing else grpc.StatusCode.INVALID_ARGUMENT, str(error))
                raise

    def written(self, request: Any, result: models.UpdateResult) -> messages.PointsOperationResponse:
        self.writes.append(request)
        converted = RestToGrpc.convert_update_result(result)
        converted.status = self.write_status
        return messages.PointsOperationResponse(result=converted)


class _Root(messages.QdrantServicer):
    def __init__(self, owner: LoopbackQdrant) -> None:
        self.owner = owner

    def HealthCheck(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self.owner.answer(
            context, "HealthCheck", lambda: messages.HealthCheckReply(title="qdrant", version=self.owner.version)
        )


class _Collections(messages.CollectionsServicer):
    def __init__(self, owner: LoopbackQdrant) -> None:
        self.owner = owner

    def List(self, request: Any, context: grpc.ServicerContext) -> Any:
        found = self.owner.answer(context, "List", self.owner.client.get_collections).collections
        described = [messages.CollectionDescription(name=item.name) for item in found]
        return messages.ListCollectionsResponse(collections=described)

    def CollectionExists(self, request: Any, context: grpc.ServicerContext) -> Any:
        exists = self.owner.answer(
            context, "CollectionExists", lambda: self.owner.client.collection_exists(request.collection_name)
        )
        return messages.CollectionExistsResponse(result=messages.CollectionExists(exists=exists))

    def Get(self, request: Any, context: grpc.ServicerContext) -> Any:
        info = self.owner.answer(context, "Get", lambda: self.owner.client.get_collection(request.collection_name))
        return messages.GetCollectionInfoResponse(
            result=RestToGrpc.convert_collection_info(self._complete(request.collection_name, info))
        )

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.owner.created.append(request)
        self._keep_threshold(request)
        is_done = self.owner.answer(
            context,
            "Create",
            lambda: self.owner.client.create_collection(
                request.collection_name,
                vectors_config=GrpcToRest.convert_vectors_config(request.vectors_config),
                sparse_vectors_config=GrpcToRest.convert_sparse_vector_config(request.sparse_vectors_config),
                metadata=GrpcToRest.convert_payload(request.metadata),
            ),
        )
        return messages.CollectionOperationResponse(result=is_done)

    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        if self.owner.collection_status == models.CollectionStatus.GREY:
            self.owner.collection_status = models.CollectionStatus.GREEN
        self._keep_threshold(request)
        metadata = GrpcToRest.convert_payload(request.metadata)
        is_done = self.owner.answer(
            context, "Update", lambda: self.owner.client.update_collection(request.collection_name, metadata=metadata)
        )
        return messages.CollectionOperationResponse(result=is_done)

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        is_done = self.owner.answer(context, "Drop", lambda: self.owner.client.delete_collection(request.collection_name))
        return messages.CollectionOperationResponse(result=is_done)

    def UpdateAliases(self, request: Any, context: grpc.ServicerContext) -> Any:
        actions = [GrpcToRest.convert_alias_operations(action) for action in request.actions]
        is_done = self.owner.answer(context, "UpdateAliases", lambda: self.owner.client.update_collection_aliases(actions))
        return messages.CollectionOperationResponse(result=is_done)

    def ListAliases(self, request: Any, context: grpc.ServicerContext) -> Any:
        found = self.owner.answer(context, "ListAliases", self.owner.client.get_aliases).aliases
        return messages.ListAliasesResponse(aliases=[RestToGrpc.convert_alias_description(item) for item in found])

    def _keep_threshold(self, request: Any) -> None:
        if request.HasField("optimizers_config") and request.optimizers_config.HasField("indexing_threshold"):
            self.owner.indexing_thresholds_kb[request.collection_name] = request.optimizers_config.indexing_threshold

    def _complete(self, name: str, info: models.CollectionInfo) -> models.CollectionInfo:
        """The description with what a server always has and the in-memory mode leaves out."""
        params = info.config.params.model_copy(
            update={"shard_number": 1, "replication_factor": 1, "write_consistency_factor": 1, "on_disk_payload": True}
        )
        threshold_kb = self.owner.indexing_thresholds_kb.get(name, 20_000)
        optimizers = info.config.optimizer_config.model_copy(update={"indexing_threshold": threshold_kb})
        config = info.config.model_copy(update={"params": params, "optimizer_config": optimizers})
        status = self.owner.next_statuses.pop(0) if self.owner.next_statuses else self.owner.collection_status
        return info.model_copy(update={"config": config, "status": status})


class _Points(messages.PointsServicer):
    def __init__(self, owner: LoopbackQdrant) -> None:
        self.owner = owner

    def Upsert(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.owner.meet()
        points = [GrpcToRest.convert_point_struct(item) for item in request.points]
        result = self.owner.answer(context, "Upsert", lambda: self.owner.client.upsert(request.collection_name, points))
        return self.owner.written(request, result)

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        selector = GrpcToRest.convert_points_selector(request.points)
        result = self.owner.answer(context, "Delete", lambda: self.owner.client.delete(request.collection_name, selector))
        return self.owner.written(request, result)

    def CreateFieldIndex(self, request: Any, context: grpc.ServicerContext) -> Any:
        kind = _FIELD_KINDS[request.field_type]
        self.owner.field_indexes.append(request)
        result = self.owner.answer(
            context,
            "CreateFieldIndex",
            lambda: self.owner.client.create_payload_index(request.collection_name, request.field_name, kind),
        )
        return self.owner.written(request, result)

    def Count(self, request: Any, context: grpc.ServicerContext) -> Any:
        found = self.owner.answer(context, "Count", lambda: self.owner.client.count(request.collection_name))
        return messages.CountResponse(result=messages.CountResult(count=found.count))

    def Scroll(self, request: Any, context: grpc.ServicerContext) -> Any:
        records, offset = self.owner.answer(
            context,
            "Scroll",
            lambda: self.owner.client.scroll(
                request.collection_name,
                scroll_filter=_filter(request),
                limit=request.limit,
                offset=GrpcToRest.convert_point_id(request.offset) if request.HasField("offset") else None,
                with_payload=GrpcToRest.convert_with_payload_interface(request.with_payload),
                with_vectors=GrpcToRest.convert_with_vectors_selector(request.with_vectors),
            ),
        )
        next_offset = None if offset is None else RestToGrpc.convert_extended_point_id(offset)
        return messages.ScrollResponse(
            result=[RestToGrpc.convert_retrieved_point(_with_payload(record)) for record in records],
            next_page_offset=next_offset,
        )

    def Query(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.owner.queries.append(request)
        found = self.owner.answer(
            context,
            "Query",
            lambda: self.owner.client.query_points(
                request.collection_name,
                query=GrpcToRest.convert_query(request.query),
                using=request.using,
                query_filter=_filter(request),
                limit=request.limit,
                with_payload=GrpcToRest.convert_with_payload_interface(request.with_payload),
            ),
        )
        return messages.QueryResponse(result=[RestToGrpc.convert_scored_point(point) for point in found.points])


_FIELD_KINDS = {
    messages.FieldType.FieldTypeKeyword: models.PayloadSchemaType.KEYWORD,
    messages.FieldType.FieldTypeInteger: models.PayloadSchemaType.INTEGER,
}


def _filter(request: Any) -> models.Filter | None:
    return GrpcToRest.convert_filter(request.filter) if request.HasField("filter") else None


def _with_payload(record: models.Record) -> models.Record:
    return record if record.payload is not None else record.model_copy(update={"payload": {}})
