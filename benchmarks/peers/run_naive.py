"""The loop that everybody writes first: read, cut, encode page by page, upsert; all of it again every time."""

import time

STARTED = time.perf_counter()

from common import COLLECTION, TUNED_BATCH, open_client, read_html, read_request, run, stable_id
from qdrant_client import models
from sentence_transformers import SentenceTransformer


def main() -> None:
    request = read_request()
    model = SentenceTransformer(request.model, device="cpu", model_kwargs=request.model_arguments)
    client = open_client(request)

    def work() -> int:
        for file in request.files():
            read_html(file)
            texts = request.pieces_of(file)
            if texts:
                options = {"batch_size": TUNED_BATCH} if request.is_tuned else {}
                vectors = model.encode(texts, show_progress_bar=False, **options)
                points = [
                    models.PointStruct(
                        id=stable_id(request.name(file), str(ordinal)), vector=vector.tolist(), payload={"text": text}
                    )
                    for ordinal, (text, vector) in enumerate(zip(texts, vectors, strict=True))
                ]
                client.upsert(COLLECTION, points)
        return int(client.count(COLLECTION).count)

    run(work, request, STARTED)


if __name__ == "__main__":
    main()
