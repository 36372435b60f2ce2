"""A whole index beside the encoder's own limit, a no-op, the sensor's look, and memory; each in its own process.

    python benchmarks/index.py first --corpus /usr/share/doc/python3.11/html --pages 200
    python benchmarks/index.py switch --corpus ...    seconds of `rag reindex` to another vector space
    python benchmarks/index.py noop --corpus ...      seconds of a second `rag index`
    python benchmarks/index.py scan --files 10000     seconds of the sensor's look at unchanged files
    python benchmarks/index.py edit --files 100000    seconds until one edited file is found, with a stand-in for the model
    python benchmarks/index.py memory --sizes 500 5000 peak memory by number of documents, with a stand-in for the model
    python benchmarks/index.py held --sizes 1000 8000  peak of the build's own Python objects, by number of documents

`first` prints wall seconds of `rag index`, those of the best plain `SentenceTransformer.encode` over the same chunks, the
ratio, and how busy each stage was; `switch` does so for a reindex after the document prompt changed, gate and switch included,
and says how many documents were parsed. Pin the process to the cores you mean (`taskset -c 0,1`); nothing else should run.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parent.parent))  # stand-ins come from the tests

from benchmarks.suite.corpus import WORDS
from benchmarks.suite.stand_in import StandIn
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.project import Project

RAG = [sys.executable, "-c", "from rag_pipeline.cli import main; main()"]


def make_corpus(folder: Path, corpus: Path, pages: int) -> None:
    """Copies every n-th HTML page."""
    found = [page for page in sorted(corpus.rglob("*.html")) if page.is_file()]
    step = max(1, len(found) // pages)
    for page in found[::step][:pages]:
        target = folder / "docs" / page.relative_to(corpus)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(page, target)
    write_settings(folder)


def write_settings(folder: Path, **changes: Any) -> None:
    """Settings over ``folder/docs``."""
    (folder / "docs").mkdir(parents=True, exist_ok=True)
    values = {"sources": [{"name": "pages", "url": "docs"}], **changes}
    (folder / "rag_pipeline.yaml").write_text(yaml.safe_dump(values))


def rag_index(folder: Path, command: str = "index") -> tuple[float, dict[str, Any]]:
    """Wall seconds of the whole process, and its answer."""
    started = time.perf_counter()
    done = subprocess.run([*RAG, command, "--json"], cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(done.stderr)
    return seconds, json.loads(done.stdout)


def chunk_texts(folder: Path) -> list[str]:
    """Every different embedded text of the index."""
    project = Project.load(folder / "rag_pipeline.yaml")
    build = project.target_parts().build()
    texts = {c.embedded_text for b in project.buckets for row in build.load(b)[1].rows.values() for c in row.chunks}
    return sorted(texts)


def plain_encode(folder: Path, texts: list[str], arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds of ``encode`` by arithmetic and batch size; the model's load is left out."""
    import torch
    from sentence_transformers import SentenceTransformer

    path = Project.load(folder / "rag_pipeline.yaml").facts.path
    seconds = {}
    for name, dtype in ((name, getattr(torch, name)) for name in arguments.arithmetic):
        model = SentenceTransformer(path, device="cpu", model_kwargs={"dtype": dtype})
        model.max_seq_length = 512
        model.encode(texts[:16], show_progress_bar=False)
        for batch in arguments.batches:
            started = time.perf_counter()
            model.encode(
                texts,
                batch_size=batch,
                show_progress_bar=False,
                convert_to_numpy=dtype is torch.float32,
                convert_to_tensor=dtype is not torch.float32,
            )
            seconds[f"{name}, batch {batch}"] = time.perf_counter() - started
    return seconds


def wall_to_busiest(lanes: dict[str, Any]) -> float:
    """Wall time of the stages by that of the busiest one; 1 would be perfect streaming."""
    busy_s: float = lanes["stages"][lanes["bottleneck"]]["busy_s"]
    return round(lanes["wall_s"] / busy_s, 3)


def bench_first(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    make_corpus(folder, arguments.corpus, arguments.pages)
    seconds, values = rag_index(folder)
    texts = chunk_texts(folder)
    plain = plain_encode(folder, texts, arguments)
    best = min(plain, key=plain.__getitem__)
    return {
        "documents": values["documents"]["new"],
        "chunks": len(texts),
        "tokens": values["tokens"],
        "index_s": round(seconds, 1),
        "stages_s": {k: round(v, 1) for k, v in values["seconds"].items()},
        "plain_encode_s": {name: round(value, 1) for name, value in plain.items()},
        "ratio": round(seconds / plain[best], 3),
        "lanes": values["lanes"],
        "wall_to_busiest": wall_to_busiest(values["lanes"]),
        "peak_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
        "best_plain": best,
    }


def bench_switch(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Plain encode is timed right before and right after, so that a change of the machine's load shows."""
    make_corpus(folder, arguments.corpus, arguments.pages)
    rag_index(folder)
    write_settings(folder, embedding={"document_prompt": "passage: "})
    prompted = ["passage: " + text for text in chunk_texts(folder)]
    before = plain_encode(folder, prompted, arguments)
    seconds, values = rag_index(folder, "reindex")
    after = plain_encode(folder, prompted, arguments)
    best = min(*before.values(), *after.values())
    return {
        "documents": arguments.pages,
        "parsed": values["parsed"],
        "embedded": values["chunks"]["embedded"],
        "switched": values["switched"],
        "gate": {check["name"]: check["summary"] for check in values["gate"]},
        "reindex_s": round(seconds, 1),
        "stages_s": {k: round(v, 1) for k, v in values["seconds"].items()},
        "plain_encode_s": {"before": before, "after": after},
        "ratio": round(seconds / best, 3),
    }


def bench_noop(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    make_corpus(folder, arguments.corpus, arguments.pages)
    rag_index(folder)
    times = [rag_index(folder)[0] for _ in range(arguments.repeats)]
    return {
        "pages": arguments.pages,
        "seconds_median": round(statistics.median(times), 2),
        "min_max": [round(min(times), 2), round(max(times), 2)],
    }


def bench_scan(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    write_settings(folder)
    for number in range(arguments.files):
        file = folder / "docs" / f"{number % 100:02d}" / f"{number}.md"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"# Document {number}\n")
        os.utime(file, (1_700_000_000, 1_700_000_000))
    project = Project.load(folder / "rag_pipeline.yaml")
    project.scan(approve_deletes=False, progress=SILENT)
    times = []
    for _ in range(arguments.repeats):
        started = time.perf_counter()
        assert not project.look_for_changes()
        times.append(time.perf_counter() - started)
    return {"files": arguments.files, "seconds_median": round(statistics.median(times), 3), "max": round(max(times), 3)}


def bench_edit(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """From the sensor's look to a hit, stage by stage; wall seconds and those of this process's own work."""
    from rag_pipeline_tests.projects import open_project

    write_settings(folder, buckets=16)
    for number in range(arguments.files):
        file = folder / "docs" / f"{number % 100:02d}" / f"{number}.md"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"# Document {number}\n\nIt says {number} of {number * 7919 % arguments.files}.\n")
        os.utime(file, (1_700_000_000, 1_700_000_000))
    first = _bring_in_step(open_project(folder / "rag_pipeline.yaml", embedder=StandIn()))
    edits = []
    for edit in range(arguments.repeats):
        (folder / "docs" / "07" / "7.md").write_text(f"# Document 7\n\nNow it tells of a zymurgy{edit}.\n")
        project = open_project(folder / "rag_pipeline.yaml", embedder=StandIn())
        took = _bring_in_step(project)
        hits = _timed(
            took, "query", lambda project=project, edit=edit: project.searcher().search(f"zymurgy{edit}", mode="sparse", limit=1)
        )
        assert hits[0].payload["path"] == "07/7.md"
        project.close()
        edits.append(took)
    stages = {name: [statistics.median(took[name][kind] for took in edits) for kind in (0, 1)] for name in edits[0]}
    return {
        "files": arguments.files,
        "first_s": {name: [round(value, 2) for value in pair] for name, pair in first.items()},
        "edit_wall_and_own_s": {name: [round(value, 2) for value in pair] for name, pair in stages.items()},
        "edit_s": [round(sum(pair[kind] for pair in stages.values()), 2) for kind in (0, 1)],
    }


def _bring_in_step(project: Project) -> dict[str, tuple[float, float]]:
    """What an index run does, timed."""
    from rag_pipeline.operations.follow import bring_in_step
    from rag_pipeline.operations.release import keep_live

    took: dict[str, tuple[float, float]] = {}
    assert _timed(took, "look", project.look_for_changes)
    _timed(took, "scan", lambda: project.scan(approve_deletes=False, progress=SILENT))
    _timed(took, "buckets", lambda: bring_in_step(project, project.buckets, progress=SILENT))
    project.close()  # as the job does between its steps
    _timed(took, "live", lambda: keep_live(project))
    project.close()
    return took


def _timed(took: dict[str, tuple[float, float]], name: str, work: Callable[[], Any]) -> Any:
    wall, own = time.perf_counter(), time.process_time()
    result = work()
    took[name] = (time.perf_counter() - wall, time.process_time() - own)
    return result


def bench_memory(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    peaks = {}
    for size in arguments.sizes:
        command = [sys.executable, __file__, "memory-of", "--size", str(size), "--words", str(arguments.words)]
        peaks[size] = _peaks_mib([*command, "--folder", str(folder / str(size))])
    first, last = peaks[arguments.sizes[0]], peaks[arguments.sizes[-1]]
    return {"peak_mib": peaks, "growth": {kind: round(last[kind] / first[kind], 3) for kind in first}}


def _peaks_mib(command: list[str]) -> dict[str, int]:
    """The most that the process held of its own, as sampled, and of that with the files it maps, which the system can drop."""
    own_kb = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            own_kb = max(own_kb, _own_kb(process.pid))
            time.sleep(0.01)
        assert process.stdout is not None
        told = process.stdout.read()
    if process.returncode:
        sys.exit("a first index failed")
    return {"own": own_kb // 1024, "with_files": int(told)}


def _own_kb(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def bench_held(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What the build itself holds, as ``tracemalloc`` sees it: without the model, the store's files and the parsing children."""
    held = {}
    for size in arguments.sizes:
        command = [sys.executable, __file__, "held-of", "--size", str(size), "--folder", str(folder / str(size))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        held[size] = json.loads(done.stdout)
    return {"peak_mib": held}


def held_of(arguments: argparse.Namespace) -> None:
    """Prints the peak in MiB of one first index after its scan, and the seconds that its stages were busy."""
    import tracemalloc

    from rag_pipeline.operations.follow import bring_in_step
    from rag_pipeline_tests.fakes.parser import FakeParser
    from rag_pipeline_tests.projects import open_project

    write_settings(arguments.folder, buckets=16)
    for number in range(arguments.size):
        file = arguments.folder / "docs" / f"{number % 100:02d}" / f"{number}.md"
        file.parent.mkdir(exist_ok=True)
        words = " ".join(WORDS[(number * 7 + i * 3) % len(WORDS)] for i in range(60))
        file.write_text(f"# Document {number}\n\n{words} {number}.\n")
    project = open_project(arguments.folder / "rag_pipeline.yaml", parser=FakeParser(), embedder=StandIn())
    project.scan(approve_deletes=False, progress=SILENT)
    tracemalloc.start()
    report = bring_in_step(project, project.buckets, progress=SILENT).report
    peak_bytes = tracemalloc.get_traced_memory()[1]
    project.close()
    print(json.dumps({"peak_mib": round(peak_bytes / 2**20, 1), "busy_s": {k: round(v, 1) for k, v in report.seconds.items()}}))


def memory_of(arguments: argparse.Namespace) -> None:
    """Prints the peak memory in MiB of one first index.

    The real model is loaded and embeds one full batch, so that the base is that of a real run; a stand-in does the rest in
    a fraction of the time.
    """
    from rag_pipeline.operations.follow import bring_in_step
    from rag_pipeline.operations.release import keep_live
    from rag_pipeline_tests.projects import open_project

    write_settings(arguments.folder, buckets=16)
    for number in range(arguments.size):
        words = " ".join(WORDS[(number * 7 + i * 3) % len(WORDS)] for i in range(arguments.words))
        (arguments.folder / "docs" / f"{number}.md").write_text(f"# Document {number}\n\n## Part\n\n{words}.\n\n{words[::-1]}.\n")
    real = Project.load(arguments.folder / "rag_pipeline.yaml")
    real.models.embedder(real.spec.vector_space).embed_documents([" ".join((WORDS * 30)[:200])] * 32)
    project = open_project(arguments.folder / "rag_pipeline.yaml", embedder=StandIn())
    project.scan(approve_deletes=False, progress=SILENT)
    bring_in_step(project, project.buckets, progress=SILENT)
    project.close()  # as the job does between its steps
    keep_live(project)
    project.close()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


SCENARIOS: dict[str, Callable[[argparse.Namespace, Path], dict[str, Any]]] = {
    "first": bench_first,
    "switch": bench_switch,
    "noop": bench_noop,
    "scan": bench_scan,
    "edit": bench_edit,
    "memory": bench_memory,
    "held": bench_held,
}
OF_ONE_SIZE = {"memory-of": memory_of, "held-of": held_of}
"""What a scenario runs in a process of its own."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", choices=[*SCENARIOS, *OF_ONE_SIZE])
    parser.add_argument("--corpus", type=Path, default=Path("/usr/share/doc/python3.11/html"))
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 5000])
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--words", type=int, default=400, help="of each of the two paragraphs of a document of `memory`")
    parser.add_argument(
        "--arithmetic", nargs="+", default=["float32", "bfloat16"], help="of the plain encode; the best of these counts"
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64], help="sizes of its batches")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="an empty working folder; default: a temporary one")
    arguments = parser.parse_args()
    if arguments.scenario in OF_ONE_SIZE:
        OF_ONE_SIZE[arguments.scenario](arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        result = SCENARIOS[arguments.scenario](arguments, arguments.folder or Path(folder))
    print(json.dumps({"scenario": arguments.scenario, "cores": len(os.sched_getaffinity(0)), **result}, indent=2))


if __name__ == "__main__":
    main()
