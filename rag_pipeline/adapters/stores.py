"""The vector store that the settings name; its library is imported only here and when it is needed."""

from collections.abc import Callable

from rag_pipeline.ports import VectorStore
from rag_pipeline.settings import ServerStoreSettings, Settings


def open_store(settings: Settings, *, on_wait: Callable[[str], None]) -> VectorStore:
    """The store, not connected yet; ``on_wait`` is told whom an embedded one waits for."""
    store = settings.store
    if isinstance(store, ServerStoreSettings):
        from rag_pipeline.adapters.qdrant_server_store import QdrantServerStore

        return QdrantServerStore(
            url=store.url,
            api_key=settings.secret("QDRANT_API_KEY"),
            prefer_grpc=store.prefer_grpc,
            timeout_s=store.timeout_s,
            batch_points=store.batch_points,
            batch_mb=store.batch_mb,
            write_streams=store.write_streams,
            write_ordering=store.write_consistency,
            tuning=store,
        )
    from rag_pipeline.adapters.qdrant_edge_store import QdrantEdgeStore

    return QdrantEdgeStore(settings.resolve(store.path), lock_wait_s=store.lock_wait_s, on_wait=on_wait, tuning=store)
