"""A real HTTP server on loopback that speaks the OpenAI embeddings protocol, well or badly as a test asks."""

import base64
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import numpy as np

from rag_pipeline.ports import Embedder


@dataclass
class Misbehaviour:
    """What the server does to one request instead of answering it well."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    is_dropped: bool = False
    delay_s: float = 0.0
    is_shuffled: bool = False
    missing_vectors: int = 0
    extra_dimensions: int = 0
    fill: float | None = None
    ignores_base64: bool = False


class EmbeddingServer:
    """Answers with an embedder's vectors; ``script`` is used up by one misbehaviour a request."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self.script: list[Misbehaviour] = []
        self.requests: list[dict[str, Any]] = []
        self.authorizations: list[str | None] = []
        self.paths: list[str] = []
        self.url = ""

    def answer(self, request: Mapping[str, Any], how: Misbehaviour) -> bytes:
        """The body of the response."""
        vectors = np.array(self.embedder.embed_documents(request["input"]))
        if how.extra_dimensions:
            vectors = np.pad(vectors, ((0, 0), (0, how.extra_dimensions)))
        if how.fill is not None:
            vectors[:] = how.fill
        is_base64 = request.get("encoding_format") == "base64" and not how.ignores_base64
        data = [
            {"object": "embedding", "index": index, "embedding": _encode(vector, is_base64)}
            for index, vector in enumerate(vectors)
        ]
        data = data[: len(data) - how.missing_vectors]
        return json.dumps({"object": "list", "data": data[::-1] if how.is_shuffled else data}).encode()


@contextmanager
def serve(embedder: Embedder, script: Sequence[Misbehaviour] = ()) -> Iterator[EmbeddingServer]:
    """The server, running; gone behind the block."""
    server = EmbeddingServer(embedder)
    server.script += script
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def _handler(server: EmbeddingServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            server.requests.append(request)
            server.authorizations.append(self.headers["authorization"])
            server.paths.append(self.path)
            how = server.script.pop(0) if server.script else Misbehaviour()
            time.sleep(how.delay_s)
            if how.is_dropped:
                self.close_connection = True
                return
            self._reply(how, how.body if how.body is not None else server.answer(request, how))

        def _reply(self, how: Misbehaviour, body: bytes) -> None:
            try:
                self.send_response_only(how.status)
                if "date" not in how.headers:
                    self.send_header("date", self.date_time_string())
                for name, value in {"content-length": str(len(body)), **how.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except OSError:  # the client did not wait
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Nothing: a test's output is its result."""

    return Handler


def _encode(vector: np.ndarray[Any, Any], is_base64: bool) -> str | list[float]:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if is_base64 else vector.astype(float).tolist()
