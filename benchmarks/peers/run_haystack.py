"""A Haystack pipeline: converter, pieces, document embedder, writer that skips what is there."""

import time

STARTED = time.perf_counter()

from pathlib import Path

from common import COLLECTION, DIMENSION, TUNED_BATCH, Request, read_request, run
from haystack import Document, Pipeline, component
from haystack.components.caching import CacheChecker
from haystack.components.converters import HTMLToDocument, TextFileToDocument
from haystack.components.writers import DocumentWriter
from haystack.document_stores.types import DuplicatePolicy
from haystack_integrations.components.embedders.sentence_transformers import SentenceTransformersDocumentEmbedder
from haystack_integrations.document_stores.qdrant import QdrantDocumentStore

REQUEST: Request


@component
class GivenPieces:
    """Documents to the pieces that every peer is given."""

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, list[Document]]:
        names = [str(document.meta["name"]) for document in documents]
        return {
            "documents": [Document(content=text, meta={"path": name}) for name in names for text in REQUEST.pieces.get(name, [])]
        }


def main() -> None:
    global REQUEST
    REQUEST = request = read_request()
    store = QdrantDocumentStore(
        path=str(request.state / "qdrant"), index=COLLECTION, embedding_dim=DIMENSION, progress_bar=False, return_embedding=True
    )
    pipeline = _pipeline(request, store)

    def work() -> int:
        files = _files_to_read(request, store)
        if files:
            meta = [{"name": request.name(file)} for file in files]
            pipeline.run({"read": {"sources": files, "meta": meta}})
        return int(store.count_documents())

    run(work, request, STARTED)


def _files_to_read(request: Request, store: QdrantDocumentStore) -> list[Path]:
    """Every file; those that are not there yet, where nothing changed."""
    if not request.is_noop:
        return request.files()
    names = {request.name(file): file for file in request.files()}
    misses = CacheChecker(document_store=store, cache_field="meta.path").run(items=list(names))["misses"]
    return [names[name] for name in misses]


def _pipeline(request: Request, store: QdrantDocumentStore) -> Pipeline:
    from haystack.utils import ComponentDevice

    is_html = any(file.suffix == ".html" for file in request.files())
    batch = {"batch_size": TUNED_BATCH} if request.is_tuned else {}
    embedder = SentenceTransformersDocumentEmbedder(
        model=request.model,
        device=ComponentDevice.from_str("cpu"),
        model_kwargs=request.model_arguments,
        progress_bar=False,
        **batch,
    )
    pipeline = Pipeline()
    pipeline.add_component("read", HTMLToDocument(store_full_path=True) if is_html else TextFileToDocument(store_full_path=True))
    pipeline.add_component("cut", GivenPieces())
    pipeline.add_component("embed", embedder)
    pipeline.add_component("write", DocumentWriter(store, policy=DuplicatePolicy.SKIP))
    for left, right in (("read", "cut"), ("cut", "embed"), ("embed", "write")):
        pipeline.connect(left, right)
    return pipeline


if __name__ == "__main__":
    main()
