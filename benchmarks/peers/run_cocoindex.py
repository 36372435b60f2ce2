"""A CocoIndex app: walk the folder, declare a point for each piece; it keeps its state in LMDB beside the points.

Its embedder has no setting for arithmetic, so ``tuned`` hands it a model that is loaded in bfloat16.
"""

import os
import time

STARTED = time.perf_counter()
os.environ["COCOINDEX_DISABLE_USAGE_TRACKING"] = "1"

from collections.abc import AsyncIterator

import cocoindex as coco
from cocoindex.connectors import localfs, qdrant
from cocoindex.ops.sentence_transformers import SentenceTransformerEmbedder
from cocoindex.resources.file import FileLike
from common import COLLECTION, Request, read_request, run, stable_id, text_of
from qdrant_client import QdrantClient
from sentence_transformers import SentenceTransformer

REQUEST: Request
CLIENT: QdrantClient
EMBEDDER: SentenceTransformerEmbedder
DATABASE = coco.ContextKey[QdrantClient]("database")
MODEL = coco.ContextKey[SentenceTransformerEmbedder]("model")


@coco.lifespan
async def provide(builder: coco.EnvironmentBuilder) -> AsyncIterator[None]:
    builder.settings.db_path = REQUEST.state / "cocoindex"
    builder.provide(DATABASE, CLIENT)
    builder.provide(MODEL, EMBEDDER)
    yield


@coco.fn
async def index_piece(piece: tuple[str, int], path: str, target: qdrant.CollectionTarget) -> None:
    text, occurrence = piece
    vector = await coco.use_context(MODEL).embed(text)
    payload = {"text": text, "path": path}
    target.declare_point(qdrant.PointStruct(id=stable_id(path, text, str(occurrence)), vector=vector.tolist(), payload=payload))


@coco.fn(memo=True)
async def index_file(file: FileLike, target: qdrant.CollectionTarget) -> None:
    path = REQUEST.name(REQUEST.docs / file.file_path.path)
    text_of(await file.read_text(errors="replace"), path)
    texts = REQUEST.pieces.get(path, [])
    pieces = [(text, texts[:position].count(text)) for position, text in enumerate(texts)]
    await coco.map(index_piece, pieces, path, target)


@coco.fn
async def index_folder() -> None:
    schema = await qdrant.CollectionSchema.create(vectors=qdrant.QdrantVectorDef(schema=MODEL))
    target = await qdrant.mount_collection_target(DATABASE, COLLECTION, schema)
    files = localfs.walk_dir(REQUEST.docs, recursive=True)
    await coco.mount_each(index_file, files.items(), target)


def main() -> None:
    global REQUEST, CLIENT, EMBEDDER
    REQUEST = request = read_request()
    # It writes from threads of its own.
    CLIENT = QdrantClient(path=str(request.state / "qdrant"), force_disable_check_same_thread=True)
    EMBEDDER = SentenceTransformerEmbedder(request.model, device="cpu")
    if request.is_tuned and not request.is_noop:
        EMBEDDER._model = SentenceTransformer(request.model, device="cpu", model_kwargs=request.model_arguments)
    app = coco.App(coco.AppConfig(name="pages"), index_folder)

    def work() -> int:
        app.update_blocking()
        return int(CLIENT.count(COLLECTION).count)

    run(work, request, STARTED)


if __name__ == "__main__":
    main()
