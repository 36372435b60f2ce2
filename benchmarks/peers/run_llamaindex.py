"""LlamaIndex's ``IngestionPipeline`` with a document store that is kept, strategy upserts and delete."""

import time

STARTED = time.perf_counter()

from collections.abc import Sequence
from typing import Any

from common import COLLECTION, TUNED_BATCH, Request, open_client, read_html, read_request, run, stable_id
from llama_index.core import Document
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.schema import BaseNode, NodeRelationship, RelatedNodeInfo, TextNode, TransformComponent
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.vector_stores.qdrant import QdrantVectorStore

REQUEST: Request


class GivenPieces(TransformComponent):
    """Documents to the pieces that every peer is given."""

    def __call__(self, nodes: Sequence[BaseNode], **_: Any) -> Sequence[BaseNode]:
        return [
            TextNode(
                text=text,
                id_=stable_id(node.node_id, str(ordinal), text),
                relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=node.node_id)},
            )
            for node in nodes
            for ordinal, text in enumerate(REQUEST.pieces.get(node.node_id, []))
        ]


def main() -> None:
    global REQUEST
    REQUEST = request = read_request()
    batch = {"embed_batch_size": TUNED_BATCH} if request.is_tuned else {}
    embedding = HuggingFaceEmbedding(
        model_name=request.model, max_length=request.window, device="cpu", model_kwargs=request.model_arguments, **batch
    )
    client = open_client(request)
    pipeline = IngestionPipeline(
        transformations=[GivenPieces(), embedding],
        docstore=SimpleDocumentStore(),
        vector_store=QdrantVectorStore(collection_name=COLLECTION, client=client),
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
    )
    kept = request.state / "pipeline"

    def work() -> int:
        if kept.exists():
            pipeline.load(str(kept))
        pipeline.run(documents=[Document(text=read_html(file), doc_id=request.name(file)) for file in request.files()])
        pipeline.persist(str(kept))
        return int(client.count(COLLECTION).count)

    run(work, request, STARTED)


if __name__ == "__main__":
    main()
