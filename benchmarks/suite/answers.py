"""Whether the answers are the same: points, texts, and the cosine of every stored vector to float32."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suite.bench import BATCH, WINDOW, Bench, run_engine
from benchmarks.suite.peers import PeerWork
from benchmarks.suite.product import model_path

LEAST_COSINE = 0.99
"""Least mean cosine to float32 of a figure that counts."""


def reference_vectors(texts: Sequence[str], folder: Path) -> dict[str, Any]:
    """The float32 vector of every text."""
    import numpy as np

    file = folder / "reference.npy"
    request = {"texts": list(texts), "model": str(model_path()), "window": WINDOW, "batch": BATCH, "vectors": str(file)}
    run_engine("float32", request)
    return dict(zip(texts, np.load(file), strict=True))


def stored_by_peer(bench: Bench, work: PeerWork) -> tuple[list[str], Any]:
    """Texts and vectors of the points that a peer left."""
    import numpy as np

    file = work.state / "vectors.npy"
    texts = bench.peers.answer("dump.py", {"state": str(work.state), "vectors": str(file)})["texts"]
    return texts, np.load(file)


def agreement(texts: Sequence[str], vectors: Any, reference: Mapping[str, Any], *, points: int) -> dict[str, Any]:
    """Points held against those wanted, texts that are wanted, and cosines to the reference."""
    import numpy as np

    known = [position for position, text in enumerate(texts) if text in reference]
    cosines = np.array([_cosine(vectors[position], reference[texts[position]]) for position in known] or [0.0])
    return {
        "points_held": len(texts),
        "points_wanted": points,
        "texts_known": len(known),
        "cosine_min": round(float(cosines.min()), 5),
        "cosine_mean": round(float(cosines.mean()), 5),
        "same_answers": len(texts) == len(known) == points and float(cosines.mean()) >= LEAST_COSINE,
    }


def _cosine(left: Any, right: Any) -> float:
    import numpy as np

    return float(np.dot(left, right) / (np.linalg.norm(left) * np.linalg.norm(right)))
