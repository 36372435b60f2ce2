"""Both stores alone: writing, indexing, size, recall and questions, with payloads as the pipeline makes them.

    python benchmarks/store.py --points 100000 --dimension 384 --out store.json
    python benchmarks/store.py --only server      the encoder of a server's requests beside `upload_points`

`edge` writes to the embedded engine in a folder of its own (`--folder`), indexes, and asks: recall@10 is of the dense search
against comparing every vector; a hybrid question is one dense and one BM25 search, one after the other, as `Searcher` asks.
`server` sends the same points over gRPC to a process on loopback that answers "completed" and does nothing: what counts is the
CPU time of the client's process. Of `upload_points` the client's points were made before; `upload_collection` begins with the
same arrays and dictionaries as the store. Points are made slice by slice from seeds, so memory does not grow with `--points`.
Seconds of CPU stand beside those of the wall, since on a shared machine only the first say much.
"""

import argparse
import gc
import json
import os
import platform
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge
from qdrant_client import QdrantClient

from rag_pipeline.adapters import edge_shards
from rag_pipeline.adapters.qdrant_edge_store import BATCH_POINTS, QdrantEdgeStore, engine_point
from rag_pipeline.adapters.qdrant_layout import DENSE, SPARSE
from rag_pipeline.adapters.qdrant_request import shipped_sparse, shipped_struct
from rag_pipeline.adapters.qdrant_server_store import QdrantServerStore
from rag_pipeline.schema import CollectionLayout, Matrix, Point, SparseVector
from rag_pipeline.settings.store import EdgeStoreSettings

SLICE = 512
ENGINE_SLICES = 16
QUESTIONS = 200
CLUSTERS = 1000
WORDS = [f"word{number}" for number in range(5000)]
NAME = "bench-1"

SERVER = """
import grpc, sys
from concurrent.futures import ThreadPoolExecutor
from qdrant_client import grpc as messages
done = messages.UpdateResult(operation_id=1, status=messages.UpdateStatus.Completed)
answer = messages.PointsOperationResponse(result=done).SerializeToString()
info = messages.GetCollectionInfoResponse.FromString(bytes.fromhex(sys.argv[1])).SerializeToString()
class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        reply = info if details.method.endswith("/Get") else answer
        return grpc.unary_unary_rpc_method_handler(lambda request, context: reply)
server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1)])
server.add_generic_rpc_handlers((Handler(),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
"""


class Corpus:
    """Points of clustered random vectors, the same for the same seed."""

    def __init__(self, points: int, dimension: int, seed: int) -> None:
        self.points, self.dimension, self.seed = points, dimension, seed
        self._centres = np.random.default_rng(seed).standard_normal((CLUSTERS, dimension)).astype(np.float32)

    def vectors(self, start: int, end: int) -> Matrix:
        generator = np.random.default_rng((self.seed, start))
        noise = generator.standard_normal((end - start, self.dimension)).astype(np.float32)
        vectors = self._centres[generator.integers(CLUSTERS, size=end - start)] + noise
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

    def ranges(self) -> Iterator[tuple[int, int]]:
        """First number of each slice and the one after its last."""
        for start in range(0, self.points, SLICE):
            yield start, min(start + SLICE, self.points)

    def slices(self) -> Iterator[list[Point]]:
        for start, end in self.ranges():
            vectors = self.vectors(start, end)
            yield [self._point(number, vectors[number - start]) for number in range(start, end)]

    def sparse(self, generator: random.Random, words: int) -> SparseVector:
        indices = generator.sample(range(200_000), words)
        return SparseVector(tuple(indices), tuple(generator.uniform(0.5, 2) for _ in indices))

    def _point(self, number: int, vector: Any) -> Point:
        generator = random.Random(f"{self.seed}/{number}")
        payload = _payload(number, " ".join(generator.choices(WORDS, k=150)))
        return Point(self.id(number), vector, self.sparse(generator, 60), payload)

    def id(self, number: int) -> str:
        """Of a point, as unordered as those of chunks."""
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.seed}/{number}"))


def _payload(number: int, text: str) -> dict[str, Any]:
    """What indexing/points.py stores, twelve chunks a document."""
    document, ordinal = divmod(number, 12)
    path = f"handbook/part-{document % 40}/page-{document}.html"
    return {
        "text": text,
        "context": f"Handbook > Part {document % 40} > Page {document}",
        "document_id": f"{document:032x}",
        "source": "handbook",
        "uri": f"file:///srv/documents/{path}",
        "path": path,
        "title": f"Page {document}",
        "bucket": f"{document % 16:02x}",
        "ordinal": ordinal,
        "page": None,
        "heading_path": [f"Part {document % 40}", f"Page {document}"],
        "type": "html",
        "format": "html",
        "kind": "text",
        "content_hash": f"{document:064x}",
        "start": ordinal * 1200,
        "end": ordinal * 1200 + 1150,
        "tokens": 230 + ordinal,
        "metadata": {},
        "flags": [],
        "stale": False,
    }


def main() -> None:
    options = _options()
    corpus = Corpus(options.points, options.dimension, options.seed)
    result: dict[str, Any] = {"about": _about(options)}
    if options.only != "server":
        result["edge"] = measure_edge(corpus, options)
        _table("embedded store", result["edge"])
    if options.only != "edge":
        result["server"] = measure_server(Corpus(min(options.points, 20_480), options.dimension, options.seed), options.rounds)
        _table("requests to a server", result["server"])
    print(json.dumps(result))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


# --- the embedded store ---------------------------------------------------------------------------------------------


def measure_edge(corpus: Corpus, options: argparse.Namespace) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="store-bench-", dir=options.folder))
    try:
        tuning = EdgeStoreSettings.model_validate(json.loads(options.settings))
        store = QdrantEdgeStore(folder, lock_wait_s=0, on_wait=print, tuning=tuning)
        store.create_collection(NAME, CollectionLayout(corpus.dimension, "cosine", {}))
        result = _write_and_index(store, corpus)
        result["bytes_per_point"] = round(_size_bytes(folder) / corpus.points)
        result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        result.update(_ask(store, corpus))
        store.close()
        result["engine_alone_points_per_s"] = _engine_alone(corpus, folder / "engine", tuning)
    finally:
        shutil.rmtree(folder)
    return result


def _write_and_index(store: QdrantEdgeStore, corpus: Corpus) -> dict[str, Any]:
    """Writing apart from indexing, which comes in between whenever a segment is full."""
    indexing, optimize = Stopwatch(), store.optimize
    store.optimize = lambda name: indexing.time(lambda: optimize(name))  # type: ignore[method-assign]
    everything = Stopwatch()
    for number, points in enumerate(corpus.slices(), start=1):
        everything.time(lambda points=points: store.upsert(NAME, points))
        if number % (100_000 // SLICE) == 0:
            print(f"{number * SLICE:,} points, {everything.wall_s:,.0f} s, indexing {indexing.wall_s:,.0f} s", flush=True)
    everything.time(lambda: store.optimize(NAME))
    write_s, write_cpu_s = everything.wall_s - indexing.wall_s, everything.cpu_s - indexing.cpu_s
    return {
        "points": corpus.points,
        "dimension": corpus.dimension,
        "write_points_per_s": round(corpus.points / write_s),
        "write_points_per_cpu_s": round(corpus.points / write_cpu_s),
        "index_s": round(indexing.wall_s, 1),
        "index_cpu_s": round(indexing.cpu_s, 1),
        "write_and_index_points_per_s": round(corpus.points / everything.wall_s),
    }


def _engine_alone(corpus: Corpus, folder: Path, tuning: EdgeStoreSettings) -> int:
    """Points a second that the engine writes where its own points were made before: what the store is held to."""
    points = [engine_point(point) for part in islice(corpus.slices(), ENGINE_SLICES) for point in part]
    config = edge_shards.config({"distance": "cosine", "dimension": corpus.dimension}, tuning)
    folder.mkdir()
    shard = edge_shards.create(folder, config, tuning)
    watch = Stopwatch()
    for start in range(0, len(points), BATCH_POINTS):
        watch.time(
            lambda start=start: shard.update(qdrant_edge.UpdateOperation.upsert_points(points[start : start + BATCH_POINTS]))
        )
    shard.close()
    return round(len(points) / watch.wall_s)


def _ask(store: QdrantEdgeStore, corpus: Corpus) -> dict[str, Any]:
    generator = random.Random(corpus.seed + 1)
    asked = corpus.vectors(corpus.points, corpus.points + QUESTIONS)
    exact = _nearest(corpus, asked)
    questions = [(vector, corpus.sparse(generator, 8)) for vector in asked]
    found = sum(
        len(exact[number] & {hit.id for hit in store.search_dense(NAME, vector, limit=10)}) for number, vector in enumerate(asked)
    )
    result: dict[str, Any] = {"recall_at_10": round(found / (10 * len(asked)), 4)}
    # What a question reads for the first time is mapped page by page; 100 of each are what a hybrid search asks for.
    for name, hits in (("hybrid_100_first", 100), ("hybrid_100", 100), ("hybrid_50", 50)):
        watches = [_ask_one(store, vector, words, hits) for vector, words in questions]
        for unit, values in (("ms", [watch.wall_s for watch in watches]), ("cpu_ms", [watch.cpu_s for watch in watches])):
            result |= {f"{name}_p{share}_{unit}": _share_ms(values, share) for share in (50, 95)}
    return result


def _ask_one(store: QdrantEdgeStore, vector: Any, words: SparseVector, hits: int) -> "Stopwatch":
    watch = Stopwatch()
    watch.time(lambda: store.search_dense(NAME, vector, limit=hits))
    watch.time(lambda: store.search_sparse(NAME, words, limit=hits))
    return watch


def _nearest(corpus: Corpus, asked: Matrix) -> list[set[str]]:
    """Ids of the ten nearest of all, found by comparing every vector."""
    best = np.full((len(asked), 10), -2.0, dtype=np.float32)
    ids = np.full((len(asked), 10), "", dtype=object)
    for start, end in corpus.ranges():
        scores = asked @ corpus.vectors(start, end).T
        every = np.concatenate([best, scores], axis=1)
        slice_ids = np.array([corpus.id(number) for number in range(start, end)], dtype=object)
        names = np.concatenate([ids, np.tile(slice_ids, (len(asked), 1))], axis=1)
        order = np.argsort(-every, axis=1)[:, :10]
        best, ids = np.take_along_axis(every, order, 1), np.take_along_axis(names, order, 1)
    return [set(row) for row in ids]


def _size_bytes(folder: Path) -> int:
    """Bytes on the disk; the engine's files are longer than what is written of them."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())


# --- requests to a server -------------------------------------------------------------------------------------------


def measure_server(corpus: Corpus, rounds: int) -> dict[str, Any]:
    points = [point for part in corpus.slices() for point in part]
    server = subprocess.Popen([sys.executable, "-c", SERVER, _description(corpus)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        rates = _rates(points, port=int(server.stdout.readline()), rounds=rounds)
    finally:
        server.kill()
        server.wait()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "points": len(points),
        "dimension": corpus.dimension,
        **{f"{name}_points_per_cpu_s": round(value) for name, value in medians.items()},
        **{f"{name}_min_max": [round(min(values)), round(max(values))] for name, values in rates.items()},
        "ratio": round(medians["store"] / medians["upload_points"], 2),
        "ratio_to_upload_collection": round(medians["store"] / medians["upload_collection"], 2),
    }


def _rates(points: list[Point], *, port: int, rounds: int) -> dict[str, list[float]]:
    """Points for each second of this process's processor, of all ways in turn."""
    url = f"http://127.0.0.1:{port - 1}"
    client = QdrantClient(url=url, grpc_port=port, prefer_grpc=True, check_compatibility=False)
    store = QdrantServerStore(url=url, api_key=None)
    structs = [shipped_struct(point) for point in points]
    ways: dict[str, Callable[[], None]] = {
        "upload_points": lambda: client.upload_points(NAME, structs, batch_size=256, wait=True),
        "upload_collection": lambda: _upload_collection(client, points),
        "store": lambda: _upsert_all(store, points),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    client.upload_points(NAME, structs[:SLICE], batch_size=256, wait=True)  # both connected, and the encoder compared
    _upsert_all(store, points[:SLICE])
    gc.freeze()  # else the way that makes most objects pays for a look at all points and structs
    for number in range(rounds):
        for name, way in list(ways.items())[:: 1 if number % 2 else -1]:
            watch = Stopwatch()
            watch.time(way)
            rates[name].append(len(points) / watch.cpu_s)
    store.close()
    client.close()
    return rates


def _upload_collection(client: QdrantClient, points: list[Point]) -> None:
    """The shipped client's way for arrays."""
    client.upload_collection(
        NAME,
        vectors=({DENSE: point.vector, SPARSE: shipped_sparse(point.sparse)} for point in points),
        payload=(dict(point.payload) for point in points),
        ids=(point.id for point in points),
        batch_size=256,
        wait=True,
    )


def _upsert_all(store: QdrantServerStore, points: list[Point]) -> None:
    for start in range(0, len(points), SLICE):
        store.upsert(NAME, points[start : start + SLICE])


def _description(corpus: Corpus) -> str:
    """What the loopback answers to a look at the collection, as hexadecimal text."""
    from qdrant_client import grpc as messages

    params = messages.VectorParams(size=corpus.dimension, distance=messages.Distance.Cosine)
    vectors = messages.VectorsConfig(params_map=messages.VectorParamsMap(map={"dense": params}))
    config = messages.CollectionConfig(
        params=messages.CollectionParams(vectors_config=vectors, shard_number=1, on_disk_payload=True),
        hnsw_config=messages.HnswConfigDiff(m=16, ef_construct=100, full_scan_threshold=10_000),
        optimizer_config=messages.OptimizersConfigDiff(
            deleted_threshold=0.2, vacuum_min_vector_number=1000, default_segment_number=0, flush_interval_sec=5
        ),
        wal_config=messages.WalConfigDiff(wal_capacity_mb=32, wal_segments_ahead=0),
    )
    info = messages.CollectionInfo(status=messages.CollectionStatus.Green, config=config)
    return bytes(messages.GetCollectionInfoResponse(result=info).SerializeToString()).hex()


# --- the frame ------------------------------------------------------------------------------------------------------


class Stopwatch:
    """Seconds by the wall and of this process's processors, summed over what it timed."""

    def __init__(self) -> None:
        self.wall_s = 0.0
        self.cpu_s = 0.0

    def time(self, work: Callable[[], object]) -> None:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        work()
        self.wall_s += time.perf_counter() - wall_s
        self.cpu_s += time.process_time() - cpu_s


def _share_ms(values_s: list[float], percent: int) -> float:
    return round(float(np.percentile(values_s, percent)) * 1000, 2)


def _about(options: argparse.Namespace) -> dict[str, Any]:
    packages = {name: version(name) for name in ("qdrant-edge-py", "qdrant-client", "grpcio", "protobuf", "numpy")}
    load = [round(value, 1) for value in os.getloadavg()]
    shown = {key: str(value) for key, value in vars(options).items()}
    return {"options": shown, "packages": packages, "cpus": os.cpu_count(), "load_before": load, "machine": platform.machine()}


def _table(title: str, rows: dict[str, Any]) -> None:
    print(f"\n{title}")
    for key, value in rows.items():
        print(f"  {key:32} {value}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of both ways to a server")
    parser.add_argument("--only", choices=["edge", "server"])
    parser.add_argument("--folder", type=Path, help="where the embedded store lies; default: the temporary folder")
    parser.add_argument("--settings", default="{}", help='JSON of store settings, such as {"quantization": {"kind": "scalar"}}')
    parser.add_argument("--out", type=Path, help="file for the JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
