"""Texts and vectors of what a peer stored, from qdrant-client's local mode: the check that its answers are right."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from common import COLLECTION
from qdrant_client import QdrantClient

PAGE_POINTS = 1_000


def main() -> None:
    request = json.load(sys.stdin)
    client = QdrantClient(path=str(Path(request["state"]) / "qdrant"))
    texts, vectors, offset = [], [], None
    while True:
        points, offset = client.scroll(COLLECTION, limit=PAGE_POINTS, offset=offset, with_vectors=True)
        texts += [_text(point.payload or {}) for point in points]
        vectors += [_vector(point.vector) for point in points]
        if offset is None:
            break
    np.save(request["vectors"], np.array(vectors, dtype=np.float32))
    print(json.dumps({"texts": texts}))


def _text(payload: dict[str, Any]) -> str:
    if "_node_content" in payload:
        return str(json.loads(payload["_node_content"])["text"] or payload.get("text", ""))
    return str(payload.get("text") or payload.get("page_content") or payload.get("content") or "")


def _vector(vector: Any) -> Any:
    return next(iter(vector.values())) if isinstance(vector, dict) else vector


if __name__ == "__main__":
    main()
