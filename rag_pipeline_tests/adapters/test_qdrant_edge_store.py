"""What the embedded store promises beyond the contract: one process at a time, no loss by a kill, healing."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import qdrant_edge

from rag_pipeline.adapters import edge_folder, qdrant_edge_store
from rag_pipeline.adapters.qdrant_edge_store import QdrantEdgeStore
from rag_pipeline.errors import BackendRejectedError, BackendUnavailableError, StoreLockedError
from rag_pipeline.schema import CollectionLayout, Point, SparseVector
from rag_pipeline.settings.store import EdgeStoreSettings, HnswSettings, QuantizationSettings

LAYOUT = CollectionLayout(dimension=8, distance="cosine", metadata={"model": "m"})
MEMORY_FOLDER = Path("/dev/shm")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    if not MEMORY_FOLDER.is_dir():
        yield tmp_path / "qdrant"
        return
    with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER) as name:
        yield Path(name) / "qdrant"


@pytest.fixture
def store(folder: Path) -> Iterator[QdrantEdgeStore]:
    opened = open_store(folder)
    yield opened
    opened.close()


def open_store(folder: Path, *, wait_s: float = 0.3, messages: list[str] | None = None) -> QdrantEdgeStore:
    return QdrantEdgeStore(folder, lock_wait_s=wait_s, on_wait=(messages if messages is not None else []).append)


def points(count: int, *, start: int = 0) -> list[Point]:
    vectors = np.random.default_rng(start).standard_normal((count, 8)).astype(np.float32)
    return [
        Point(
            str(uuid.uuid5(uuid.NAMESPACE_URL, str(start + n))),
            vector=vectors[n],
            sparse=SparseVector((n,), (1.0,)),
            payload={"bucket": f"{n % 4:02}"},
        )
        for n in range(count)
    ]


# --- opening --------------------------------------------------------------------------------------------------------


def test_asking_a_store_that_is_not_there_creates_nothing(folder: Path) -> None:
    store = open_store(folder)
    assert store.collections() == []
    assert store.resolve_alias("docs") is None
    assert store.describe("docs-1") is None
    assert not folder.exists()


def test_names_are_read_while_another_object_holds_the_store(store: QdrantEdgeStore, folder: Path) -> None:
    store.create_collection("docs-1", LAYOUT)
    store.switch_alias("docs", "docs-1")
    other = open_store(folder)
    assert (other.collections(), other.resolve_alias("docs")) == (["docs-1"], "docs-1")


def test_close_frees_the_store_for_the_next(store: QdrantEdgeStore, folder: Path) -> None:
    store.create_collection("docs-1", LAYOUT)
    store.upsert("docs-1", points(3))
    store.close()
    other = open_store(folder)
    assert other.count("docs-1") == 3
    other.close()
    assert store.count("docs-1") == 3


def test_scroll_survives_a_close_between_two_pages(store: QdrantEdgeStore) -> None:
    store.create_collection("docs-1", LAYOUT)
    store.upsert("docs-1", points(600))
    pages = store.scroll("docs-1")
    seen = {next(pages).id}
    store.close()
    seen |= {item.id for item in pages}
    assert len(seen) == 600


# --- one process at a time ------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from rag_pipeline.adapters.qdrant_edge_store import QdrantEdgeStore
store = QdrantEdgeStore(sys.argv[1], lock_wait_s=0, on_wait=print)
store.collections()
store.count("docs-1")
print("holding", flush=True)
time.sleep(float(sys.argv[2]))
store.close()
"""


def start_holder(folder: Path, seconds: float) -> subprocess.Popen[str]:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, folder, str(seconds)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "holding\n"
    return holder


@pytest.fixture
def filled(folder: Path) -> Path:
    store = open_store(folder)
    store.create_collection("docs-1", LAYOUT)
    store.close()
    return folder


def test_second_process_waits_saying_for_whom_and_goes_on(filled: Path) -> None:
    holder = start_holder(filled, 0.7)
    messages: list[str] = []
    store = open_store(filled, wait_s=20, messages=messages)
    assert store.count("docs-1") == 0
    store.close()
    assert holder.wait() == 0
    (message,) = messages
    assert f"process {holder.pid} " in message
    assert "waiting up to 20 s" in message


def test_second_process_gives_up_saying_who_holds_and_what_to_do(filled: Path) -> None:
    holder = start_holder(filled, 60)
    with pytest.raises(StoreLockedError, match=rf"process {holder.pid} .*not freed within 0.3 s; wait for .*lock_wait_s"):
        open_store(filled).count("docs-1")
    holder.kill()
    holder.wait()


def test_killed_holder_frees_the_store(filled: Path) -> None:
    holder = start_holder(filled, 60)
    holder.kill()
    holder.wait()
    messages: list[str] = []
    store = open_store(filled, wait_s=5, messages=messages)
    assert store.count("docs-1") == 0
    store.close()
    assert messages == []


def test_second_object_of_the_same_process_is_told_so(store: QdrantEdgeStore, folder: Path) -> None:
    store.create_collection("docs-1", LAYOUT)
    with pytest.raises(StoreLockedError, match="this very process"):
        open_store(folder).count("docs-1")


def test_lock_file_tells_no_arguments_after_the_first(
    store: QdrantEdgeStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/rag", "index", "--token", "secret"])
    store.create_collection("docs-1", LAYOUT)
    assert json.loads((folder / "lock.json").read_text())["command"] == "rag index"


def test_shard_opened_by_a_stranger_is_waited_for(filled: Path) -> None:
    stranger = qdrant_edge.EdgeShard.load(str(filled / "collections" / "docs-1" / "shard"))
    messages: list[str] = []
    store = open_store(filled, wait_s=10, messages=messages)
    threading.Timer(0.4, stranger.close).start()
    assert store.count("docs-1") == 0
    store.close()
    assert len(messages) == 1


def test_shard_kept_by_a_stranger_is_an_error(filled: Path) -> None:
    stranger = qdrant_edge.EdgeShard.load(str(filled / "collections" / "docs-1" / "shard"))
    store = open_store(filled)
    with pytest.raises(StoreLockedError):
        store.count("docs-1")
    stranger.close()
    store.close()


# --- taking turns ---------------------------------------------------------------------------------------------------

POLITE_WRITER = """
import sys, time, uuid
import numpy as np
from rag_pipeline.adapters.qdrant_edge_store import QdrantEdgeStore
from rag_pipeline.schema import Point, SparseVector
store = QdrantEdgeStore(sys.argv[1], lock_wait_s=30, on_wait=lambda message: print("told", flush=True))
ends_s, number = time.monotonic() + 60, 0
while time.monotonic() < ends_s:
    point = Point(str(uuid.uuid4()), np.ones(8, dtype=np.float32), SparseVector((1,), (1.0,)), {"bucket": "00"})
    store.upsert("docs-1", [point])
    number += 1
    if number == 1:
        print("writing", flush=True)
    store.let_others_in()
"""


@pytest.fixture
def writer(filled: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", POLITE_WRITER, filled], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_reader_gets_its_turn_while_another_process_writes(filled: Path, writer: subprocess.Popen[str]) -> None:
    reader, counts, waits_s = open_store(filled, wait_s=20), [], []
    for _ in range(5):
        started_s = time.monotonic()
        counts.append(reader.count("docs-1"))
        waits_s.append(time.monotonic() - started_s)
        reader.close()
        time.sleep(0.2)
    assert sorted(waits_s)[2] < 1
    assert counts == sorted(set(counts)), "the writer goes on in between"
    assert writer.poll() is None
    writer.kill()
    assert writer.stdout is not None
    assert writer.stdout.read() == "", "short turns are not worth a message"


def test_writer_that_waits_long_for_its_store_says_so(filled: Path, writer: subprocess.Popen[str]) -> None:
    reader = open_store(filled, wait_s=20)
    reader.count("docs-1")
    assert writer.stdout is not None
    assert writer.stdout.readline() == "told\n"
    reader.close()


def test_threads_share_a_store_that_gives_way(filled: Path) -> None:
    store, written = open_store(filled, wait_s=20), threading.Event()

    def write(start: int) -> None:
        for number in range(start, start + 40):
            store.upsert("docs-1", points(1, start=number))
            store.let_others_in()

    def read() -> int:
        turns = 0
        while not written.is_set():
            other = open_store(filled, wait_s=20)
            other.count("docs-1")
            other.close()
            turns += 1
            time.sleep(0.02)
        return turns

    with ThreadPoolExecutor(4) as threads:
        reader = threads.submit(read)
        for writing in [threads.submit(write, start) for start in (0, 1000, 2000)]:
            writing.result(60)
        written.set()
        store.close()
        assert reader.result(30) > 0
    assert store.count("docs-1") == 120
    store.close()


def test_letting_others_in_without_the_lock_does_nothing(folder: Path) -> None:
    store = open_store(folder)
    store.let_others_in()
    assert not folder.exists()
    folder.mkdir()
    (folder / "waiting").touch()
    store.let_others_in()
    assert [entry.name for entry in folder.iterdir()] == ["waiting"]


def test_letting_others_in_waits_for_no_thread_where_no_process_waits(store: QdrantEdgeStore) -> None:
    store.create_collection("docs-1", LAYOUT)
    with ThreadPoolExecutor(1) as thread, store._mutex:
        thread.submit(store.let_others_in).result(5)
    assert store._lock.is_held


@pytest.mark.parametrize("age_s", [60, -60])
def test_waiter_that_was_killed_long_ago_is_not_waited_for(store: QdrantEdgeStore, folder: Path, age_s: float) -> None:
    store.create_collection("docs-1", LAYOUT)
    (folder / "waiting").touch()
    os.utime(folder / "waiting", (time.time() - age_s,) * 2)
    store.let_others_in()
    assert store._lock.is_held


def test_waiter_that_was_killed_just_now_costs_one_turn(store: QdrantEdgeStore, folder: Path) -> None:
    store.create_collection("docs-1", LAYOUT)
    (folder / "waiting").touch()
    store.let_others_in()
    assert not store._lock.is_held
    assert store.count("docs-1") == 0
    store.let_others_in()
    assert store._lock.is_held


def test_who_gave_up_waiting_leaves_no_sign(store: QdrantEdgeStore, folder: Path) -> None:
    store.create_collection("docs-1", LAYOUT)
    with pytest.raises(StoreLockedError):
        open_store(folder).count("docs-1")
    assert not (folder / "waiting").exists()


def test_free_space_is_that_of_the_disk_where_the_folder_will_be(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage(folder.parent).free
    assert open_store(folder / "not" / "there").free_bytes() == pytest.approx(free, rel=0.05)
    monkeypatch.chdir(folder.parent)
    assert open_store(Path("relative")).free_bytes() == pytest.approx(free, rel=0.05)
    assert not folder.exists()


def test_reader_and_writer_threads_share_a_store(store: QdrantEdgeStore) -> None:
    store.create_collection("docs-1", LAYOUT)
    everything = points(3000)

    def write() -> None:
        for start in range(0, 3000, 100):
            store.upsert("docs-1", everything[start : start + 100])

    counts = []
    with ThreadPoolExecutor(max_workers=1) as pool:
        writing = pool.submit(write)
        while not writing.done():
            counts.append(store.count("docs-1"))
            store.search_dense("docs-1", everything[0].vector, limit=5)
        writing.result()
    assert counts == sorted(counts)
    assert store.count("docs-1") == 3000


# --- crashes --------------------------------------------------------------------------------------------------------

WRITER = """
import sys
from rag_pipeline.adapters.qdrant_edge_store import QdrantEdgeStore
from rag_pipeline_tests.adapters.test_qdrant_edge_store import points
store = QdrantEdgeStore(sys.argv[1], lock_wait_s=5, on_wait=print)
for start in range(int(sys.argv[2]), 10**9, 50):
    store.upsert("docs-1", points(50, start=start))
    print(start + 50, flush=True)
    if start % 1000 == 0:
        store.optimize("docs-1")
        store.delete("docs-1", [item.id for item in points(50, start=start)][:1])
"""


def acknowledged_before_kill(folder: Path, *, start: int, after_s: float) -> int:
    """The first number that the killed writer was not yet told to be stored."""
    with subprocess.Popen([sys.executable, "-c", WRITER, folder, str(start)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acknowledged = int(writer.stdout.readline())
        time.sleep(after_s)
        writer.send_signal(signal.SIGKILL)
        for line in writer.stdout:
            acknowledged = int(line)
    return acknowledged


def check_nothing_is_lost(folder: Path, rounds: int) -> None:
    start = 0
    wanted: set[str] = set()
    for number in range(rounds):
        end = acknowledged_before_kill(folder, start=start, after_s=0.05 + 0.11 * number)
        for batch in range(start, end, 50):
            # Of every thousandth batch the writer deletes the first point, so that one may be there or not.
            wanted |= {item.id for item in points(50, start=batch)[1 if batch % 1000 == 0 else 0 :]}
        store = open_store(folder)
        present = {item.id for item in store.scroll("docs-1")}
        store.close()
        assert wanted <= present
        start = end


def test_acknowledged_points_survive_a_kill(filled: Path) -> None:
    check_nothing_is_lost(filled, rounds=2)


@pytest.mark.deep
def test_acknowledged_points_survive_many_kills(filled: Path) -> None:
    check_nothing_is_lost(filled, rounds=20)


def test_half_made_and_half_dropped_collections_are_swept(folder: Path) -> None:
    for leftover in (".docs-1.new", ".docs-2.dropped"):
        (folder / "collections" / leftover / "shard").mkdir(parents=True)
    store = open_store(folder)
    store.create_collection("docs-1", LAYOUT)
    store.close()
    assert [entry.name for entry in (folder / "collections").iterdir()] == ["docs-1"]


@pytest.mark.parametrize("lost", ["collection.json", "shard/edge_config.json"])
def test_collection_without_spec_or_shard_counts_as_missing_and_is_made_anew(
    store: QdrantEdgeStore, folder: Path, lost: str
) -> None:
    store.create_collection("docs-1", LAYOUT)
    store.close()
    (folder / "collections" / "docs-1" / lost).unlink()
    assert store.collections() == []
    assert store.describe("docs-1") is None
    store.create_collection("docs-1", LAYOUT)
    store.upsert("docs-1", points(2))
    assert store.count("docs-1") == 2


def test_shard_that_does_not_load_says_which_and_can_be_dropped(store: QdrantEdgeStore, folder: Path) -> None:
    store.create_collection("docs-1", LAYOUT)
    store.close()
    (folder / "collections" / "docs-1" / "shard" / "edge_config.json").write_text("{")
    with pytest.raises(BackendRejectedError, match="opening 'docs-1' failed"):
        store.count("docs-1")
    store.drop_collection("docs-1")
    store.create_collection("docs-1", LAYOUT)
    assert store.count("docs-1") == 0


def test_damaged_file_is_named(store: QdrantEdgeStore, folder: Path) -> None:
    store.create_collection("docs-1", LAYOUT)
    (folder / "aliases.json").write_text("{")
    with pytest.raises(BackendRejectedError, match=re.escape(str(folder / "aliases.json"))):
        store.resolve_alias("docs")


def test_aliases_are_replaced_never_rewritten(store: QdrantEdgeStore, folder: Path) -> None:
    store.create_collection("docs-1", LAYOUT)
    store.create_collection("docs-2", LAYOUT)
    store.switch_alias("docs", "docs-1")
    with (folder / "aliases.json").open() as old_file:
        store.switch_alias("docs", "docs-2")
        assert json.load(old_file) == {"docs": "docs-1"}
    assert json.loads((folder / "aliases.json").read_text()) == {"docs": "docs-2"}
    assert not list(folder.glob(".aliases*"))


# --- disk and index -------------------------------------------------------------------------------------------------


def test_nearly_full_disk_stops_writing_before_the_engine_meets_it(folder: Path) -> None:
    store = QdrantEdgeStore(folder, lock_wait_s=0, on_wait=print, min_free_mb=10**9)
    store.create_collection("docs-1", LAYOUT)
    with pytest.raises(BackendUnavailableError, match="free some space"):
        store.upsert("docs-1", points(1))
    assert store.count("docs-1") == 0
    store.close()


def test_writing_flushes_after_the_interval(store: QdrantEdgeStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant_edge_store, "FLUSH_INTERVAL_S", 0.0)
    store.create_collection("docs-1", LAYOUT)
    store.upsert("docs-1", points(2000))
    assert store.count("docs-1") == 2000


def test_writing_indexes_segment_by_segment(store: QdrantEdgeStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_segment_bytes", 600 * 8 * 4)
    optimized: list[str] = []
    monkeypatch.setattr(store, "optimize", lambda name: (optimized.append(name), QdrantEdgeStore.optimize(store, name)))
    store.create_collection("docs-1", LAYOUT)
    for start in range(0, 1500, 300):
        store.upsert("docs-1", points(300, start=start))
    assert optimized == ["docs-1", "docs-1"]
    assert store.count("docs-1") == 1500
    assert len(store.point_ids("docs-1", "00")) == 375
    store.close()
    shard = qdrant_edge.EdgeShard.load(str(folder / "collections" / "docs-1" / "shard"))
    assert shard.info().points_count == 1500
    shard.close()


@pytest.mark.parametrize("renew", ["purge", "drop"])
def test_what_was_written_before_a_purge_or_a_drop_fills_no_segment_after_it(
    store: QdrantEdgeStore, monkeypatch: pytest.MonkeyPatch, renew: str
) -> None:
    monkeypatch.setattr(store, "_segment_bytes", 600 * 8 * 4)
    store.create_collection("docs-1", LAYOUT)
    store.upsert("docs-1", points(500))
    if renew == "purge":
        store.purge("docs-1")
    else:
        store.drop_collection("docs-1")
        store.create_collection("docs-1", LAYOUT)
    monkeypatch.setattr(store, "optimize", lambda name: pytest.fail(f"{name} was indexed"))
    store.upsert("docs-1", points(500, start=500))


def test_free_memory_goes_back_after_every_segment_and_at_the_end(
    store: QdrantEdgeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    optimize = store.optimize
    monkeypatch.setattr(store, "_segment_bytes", 600 * 8 * 4)
    monkeypatch.setattr(store, "optimize", lambda name: (happened.append("index"), optimize(name)))
    monkeypatch.setattr(
        qdrant_edge_store, "give_back_free_memory", lambda: happened.append(f"give back, {len(store._shards)} open")
    )
    store.create_collection("docs-1", LAYOUT)
    for start in range(0, 1500, 300):
        store.upsert("docs-1", points(300, start=start))
    segment = ["give back, 0 open", "index", "give back, 1 open", "give back, 0 open"]
    assert happened == segment * 2
    happened.clear()
    store.optimize("docs-1")
    store.close()
    assert happened == segment[1:]


def test_a_large_collection_gets_larger_segments(store: QdrantEdgeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_segment_bytes", 20 * 8 * 4)
    held = [0]
    optimize = store.optimize
    monkeypatch.setattr(store, "optimize", lambda name: (held.append(store.count(name)), optimize(name)))
    store.create_collection("docs-1", LAYOUT)
    for start in range(0, 600, 20):
        store.upsert("docs-1", points(20, start=start))
    sizes = np.diff(held).tolist()
    assert sizes[:8] == [20] * 8
    assert sizes == sorted(sizes)
    assert sizes[-1] >= 60
    assert store.count("docs-1") == 600


TUNED = EdgeStoreSettings(
    hnsw=HnswSettings(m=24, ef_construct=64, on_disk=True, ef_search=200),
    quantization=QuantizationSettings(kind="scalar", in_memory=False),
    vectors_on_disk=False,
    segment_mb=4,
)


def test_new_collections_take_the_settings_and_old_ones_keep_theirs(folder: Path) -> None:
    open_plain = open_store(folder)
    open_plain.create_collection("docs-1", LAYOUT)
    open_plain.close()
    store = QdrantEdgeStore(folder, lock_wait_s=1, on_wait=print, tuning=TUNED)
    store.create_collection("docs-2", LAYOUT)
    for name in ("docs-1", "docs-2"):
        store.upsert(name, points(2000))
        store.optimize(name)
        assert store.search_dense(name, points(5)[4].vector, limit=1)[0].id == points(5)[4].id
    store.close()
    shards = [folder / "collections" / name / "shard" / "edge_config.json" for name in ("docs-1", "docs-2")]
    old, new = (json.loads(file.read_text())["vectors"]["dense"] for file in shards)
    assert (new["hnsw_config"]["m"], new["hnsw_config"]["ef_construct"]) == (24, 64)
    assert "scalar" in new["quantization_config"]
    assert old["hnsw_config"]["m"] == 16
    assert not old.get("quantization_config")


@pytest.mark.parametrize("kind", ["scalar", "binary"])
def test_quantized_hits_are_ranked_by_the_whole_vectors(folder: Path, kind: Literal["scalar", "binary"]) -> None:
    tuning = EdgeStoreSettings(quantization=QuantizationSettings(kind=kind, oversampling=100))
    store = QdrantEdgeStore(folder, lock_wait_s=1, on_wait=print, tuning=tuning)
    store.create_collection("docs-1", LAYOUT)
    everything = points(500)
    store.upsert("docs-1", everything)
    store.optimize("docs-1")
    asked = everything[7].vector / np.linalg.norm(everything[7].vector)
    scores = {one.id: float(asked @ (one.vector / np.linalg.norm(one.vector))) for one in everything}
    hits = store.search_dense("docs-1", asked, limit=3)
    assert [hit.score for hit in hits] == pytest.approx(sorted(scores.values(), reverse=True)[:3], abs=1e-5)
    store.close()


def test_every_payload_index_stands_before_the_first_point(store: QdrantEdgeStore, folder: Path) -> None:
    store.create_collection("docs-1", LAYOUT)
    store.close()
    shard = qdrant_edge.EdgeShard.load(str(folder / "collections" / "docs-1" / "shard"))
    indexed = set(shard.info().payload_schema)
    shard.close()
    assert indexed == {"bucket", "document_id", "source", "path", "uri", "type", "format", "kind", "page", "ordinal"}


@pytest.mark.parametrize("is_on_disk", [True, False])
def test_indexes_stay_in_their_files_unless_memory_is_wanted(folder: Path, is_on_disk: bool) -> None:
    """The engine would read them whole at every opening: some 2 KB a point."""
    tuning = EdgeStoreSettings(indexes_on_disk=is_on_disk)
    store = QdrantEdgeStore(folder, lock_wait_s=1, on_wait=print, tuning=tuning)
    store.create_collection("docs-1", LAYOUT)
    store.upsert("docs-1", points(2000))
    store.optimize("docs-1")
    store.close()
    place = folder / "collections" / "docs-1" / "shard"
    config = json.loads((place / "edge_config.json").read_text())
    shard = qdrant_edge.EdgeShard.load(str(place))
    indexes = {key: index.params.memory for key, index in shard.info().payload_schema.items()}
    shard.close()
    wanted = "cold" if is_on_disk else None
    assert config["sparse_vectors"]["bm25"].get("memory") == config.get("id_tracker_memory") == wanted
    assert indexes == dict.fromkeys(indexes, qdrant_edge.Memory.Cold if is_on_disk else None)


def test_optimizing_again_is_cheap(store: QdrantEdgeStore) -> None:
    store.create_collection("docs-1", LAYOUT)
    store.upsert("docs-1", points(2000))
    store.optimize("docs-1")
    start_s = time.perf_counter()
    store.optimize("docs-1")
    assert time.perf_counter() - start_s < 0.5


def test_store_imports_in_a_moment() -> None:
    program = "import sys, rag_pipeline.adapters.qdrant_edge_store as m; print('torch' in sys.modules, 'grpc' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert answer.stdout == "False False\n"


def test_a_spec_that_changed_is_read_again(store: QdrantEdgeStore) -> None:
    store.create_collection("docs-1", LAYOUT)
    store.upsert("docs-1", points(5))  # opens the shard, and keeps its spec
    store.set_metadata("docs-1", {"generation": 2})
    described = store.describe("docs-1")
    assert described is not None
    assert described.metadata == {"generation": 2}
    described.metadata.clear()  # type: ignore[attr-defined]  # what a caller does with its answer is its own
    again = store.describe("docs-1")
    assert again is not None
    assert again.metadata == store.metadata("docs-1") == {"generation": 2}
    store.drop_collection("docs-1")
    with pytest.raises(BackendRejectedError, match="no collection"):
        store.upsert("docs-1", points(5))


def test_a_spec_that_could_not_be_written_whole_is_read_again(
    store: QdrantEdgeStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create_collection("docs-1", LAYOUT)
    store.upsert("docs-1", points(5))

    def renamed_and_then_failed(_folder: Path) -> None:
        raise OSError("the folder could not be synced")

    with monkeypatch.context() as patched:
        patched.setattr(edge_folder, "_sync_folder", renamed_and_then_failed)
        with pytest.raises(OSError, match="synced"):
            store.set_metadata("docs-1", {"generation": 2})
    described = store.describe("docs-1")
    assert described is not None
    assert described.metadata == store.metadata("docs-1") == {"generation": 2}


# --- purge ---


def spoken(point: Point, text: str) -> Point:
    return replace(point, payload={**point.payload, "text": text})


def files_with(folder: Path, piece: bytes) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and piece in file.read_bytes()]


def test_a_purge_leaves_no_byte_of_deleted_points(store: QdrantEdgeStore, folder: Path) -> None:
    store.create_collection("docs-1", LAYOUT)
    secret, others = spoken(points(1)[0], "xyzzy-sentinel"), [spoken(one, "harmless") for one in points(50, start=1)]
    store.upsert("docs-1", [secret, *others])
    store.optimize("docs-1")
    store.delete("docs-1", [secret.id])
    store.optimize("docs-1")
    store.close()
    assert files_with(folder, b"xyzzy-sentinel"), "else there is nothing to purge"
    assert store.purge("docs-1")
    store.close()
    assert not files_with(folder, b"xyzzy-sentinel")
    assert files_with(folder, b"harmless")
    assert store.count("docs-1") == 50


@pytest.mark.parametrize("method", ["start_shard", "use_shard", "write_spec"])
def test_a_purge_that_breaks_off_loses_nothing_and_is_cleared_away(
    store: QdrantEdgeStore, folder: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create_collection("docs-1", LAYOUT)
    store.upsert("docs-1", points(20))
    original = getattr(store._folder, method)

    def breaking(*args: object) -> None:
        original(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store._folder, method, breaking)
        with pytest.raises(KeyboardInterrupt):
            store.purge("docs-1")
    store.close()
    again = open_store(folder)
    assert again.count("docs-1") == 20
    assert len(list((folder / "collections" / "docs-1").glob("shard*"))) == 1
    again.purge("docs-1")
    assert again.count("docs-1") == 20
    again.close()
