"""What the peers' scripts share. Each indexes a folder on the state that its last run left, and prints JSON.

Every peer reads each page with its own reader, or the one its documentation shows, and then takes the given pieces: the same
chunks for all. All store into qdrant-client's local mode, in a folder. ``documented`` leaves arithmetic and batches as the peer
has them; ``tuned`` is the larger batches below, and bfloat16 where it is fast. The window is 512 tokens in both: with the 256
that the model ships, every peer would drop the rest of a chunk without a word.
"""

import hashlib
import json
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

COLLECTION = "pages"
DIMENSION = 384
TUNED_BATCH = 64


@dataclass(frozen=True)
class Request:
    """What to index."""

    docs: Path
    pieces_file: Path
    state: Path
    variant: str
    model: str
    window: int
    is_noop: bool

    @property
    def is_tuned(self) -> bool:
        """Large batches, and bfloat16 where the processor has it."""
        return self.variant == "tuned"

    @property
    def model_arguments(self) -> dict[str, Any]:
        """Given to the model when it is loaded."""
        import torch

        return {"dtype": torch.bfloat16} if self.is_tuned and has_half_precision() else {}

    @cached_property
    def pieces(self) -> Mapping[str, list[str]]:
        """The chunks of each document."""
        values: dict[str, list[str]] = json.loads(self.pieces_file.read_text())
        return values

    def files(self) -> list[Path]:
        """Every document, sorted."""
        return sorted(path for path in self.docs.rglob("*") if path.is_file())

    def name(self, file: Path) -> str:
        """The path of a document below the folder."""
        return file.relative_to(self.docs).as_posix()

    def pieces_of(self, file: Path) -> list[str]:
        """The chunks that a document is cut into."""
        return self.pieces.get(self.name(file), [])


@dataclass
class Encoded:
    """What went through the model."""

    texts: int = 0
    seconds: float = 0.0


def read_request() -> Request:
    """The request on standard input."""
    values = json.load(sys.stdin)
    return Request(
        docs=Path(values["docs"]),
        pieces_file=Path(values["pieces"]),
        state=Path(values["state"]),
        variant=values["variant"],
        model=values["model"],
        window=values["window"],
        is_noop=values.get("is_noop", False),
    )


def has_half_precision() -> bool:
    """Whether the processor computes in bfloat16; without, it is several times slower than float32."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and any(flag in cpuinfo.read_text() for flag in ("avx512_bf16", "amx_bf16"))


def watch_encoder(window: int) -> Encoded:
    """Counts the texts of every call of ``SentenceTransformer.encode``, whoever calls it, and sets the window."""
    from sentence_transformers import SentenceTransformer

    encoded, encode = Encoded(), SentenceTransformer.encode

    def watched(model: Any, texts: Any, *arguments: Any, **options: Any) -> Any:
        model.max_seq_length = window
        encoded.texts += 1 if isinstance(texts, str) else len(texts)
        started = time.perf_counter()
        try:
            return encode(model, texts, *arguments, **options)
        finally:
            encoded.seconds += time.perf_counter() - started

    SentenceTransformer.encode = watched  # type: ignore[method-assign]
    return encoded


def run(work: Callable[[], int], request: Request, started: float) -> None:
    """Does the work and prints what it took; ``work`` answers with the number of points."""
    encoded = watch_encoder(request.window)
    begun = time.perf_counter()
    points = work()
    ended = time.perf_counter()
    print(
        json.dumps(
            {
                "work_s": ended - begun,
                "start_s": begun - started,
                "encode_s": encoded.seconds,
                "texts_encoded": encoded.texts,
                "points": points,
            }
        )
    )


def read_html(file: Path) -> str:
    """The text of a page, by BeautifulSoup."""
    return text_of(file.read_text(encoding="utf-8", errors="replace"), file.name)


def text_of(content: str, name: str) -> str:
    """The text of a page's markup, of anything else itself."""
    from bs4 import BeautifulSoup

    return BeautifulSoup(content, "lxml").get_text() if name.endswith(".html") else content


def stable_id(*parts: str) -> str:
    """A point id that says its content."""
    return str(uuid.UUID(hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()))


def open_client(request: Request) -> Any:
    """Qdrant in a folder, its collection made when it is not there."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(path=str(request.state / "qdrant"))
    if not client.collection_exists(COLLECTION):
        client.create_collection(COLLECTION, models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE))
    return client
