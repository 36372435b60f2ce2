"""Whether the answers are the same: points, texts, and the cosine of every stored vector to float32."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suite.bench import BATCH, WINDOW, Bench, run_engine
from benchmarks.suite.peers import PeerWork
from benchmarks.suite.product import model_path

LEAST_COSINE = 0.99
"""Least mean cosine to float32 of a figure that counts."""
COMPARED_TEXTS = 1000
"""Whose vectors are compared: float32 takes longer than everything that is measured."""


def reference_vectors(texts: Sequence[str], folder: Path, *, seed: int) -> dict[str, Any]:
    """The float32 vector of every text, or of ``COMPARED_TEXTS`` chosen by the seed; None for the others."""
    import numpy as np

    file = folder / "reference.npy"
    compared = list(texts) if len(texts) <= COMPARED_TEXTS else random.Random(seed).sample(list(texts), COMPARED_TEXTS)
    request = {"texts": compared, "model": str(model_path()), "window": WINDOW, "batch": BATCH, "vectors": str(file)}
    run_engine("float32", request)
    return dict.fromkeys(texts) | dict(zip(compared, np.load(file), strict=True))


def stored_by_peer(bench: Bench, work: PeerWork) -> tuple[list[str], Any]:
    """Texts and vectors of the points that a peer left."""
    import numpy as np

    file = work.state / "vectors.npy"
    texts = bench.peers.answer("dump.py", {"state": str(work.state), "vectors": str(file)})["texts"]
    return texts, np.load(file)


def agreement(texts: Sequence[str], vectors: Any, reference: Mapping[str, Any], *, points: int) -> dict[str, Any]:
    """Points held against those wanted, texts that are wanted, and cosines to the reference where it has a vector."""
    import numpy as np

    known = [position for position, text in enumerate(texts) if text in reference]
    compared = [position for position in known if reference[texts[position]] is not None]
    cosines = np.array([_cosine(vectors[position], reference[texts[position]]) for position in compared] or [0.0])
    return {
        "points_held": len(texts),
        "points_wanted": points,
        "texts_known": len(known),
        "vectors_compared": len(compared),
        "cosine_min": round(float(cosines.min()), 5),
        "cosine_mean": round(float(cosines.mean()), 5),
        "same_answers": len(texts) == len(known) == points and float(cosines.mean()) >= LEAST_COSINE,
    }


def _cosine(left: Any, right: Any) -> float:
    import numpy as np

    return float(np.dot(left, right) / (np.linalg.norm(left) * np.linalg.norm(right)))
