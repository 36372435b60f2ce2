"""``rag doctor`` tells what is wrong around the pipeline, each thing with its remedy."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rag_pipeline.cli.diagnosis import Diagnosis, examine
from rag_pipeline.cli.frame import Frame
from rag_pipeline.errors import SettingsError
from rag_pipeline_tests.fakes.qdrant_server import LoopbackQdrant
from rag_pipeline_tests.projects import write_settings


@pytest.fixture
def qdrant() -> Iterator[LoopbackQdrant]:
    server = LoopbackQdrant()
    yield server
    server.stop()


def looked_at_store(folder: Path, url: str) -> Diagnosis:
    file = write_settings(folder, store={"kind": "server", "url": url, "prefer_grpc": True})
    return next(found for found in examine(Frame(config=str(file), is_json=True)) if found.name == "store")


def test_a_server_that_is_new_enough_is_named_with_its_version(qdrant: LoopbackQdrant, tmp_path: Path) -> None:
    found = looked_at_store(tmp_path, qdrant.url)
    assert (found.is_ok, found.detail) == (True, "server 1.19.1, 0 collections, live: nothing yet")


def test_a_state_folder_that_nobody_may_make_is_told_in_a_line(tmp_path: Path) -> None:
    frame = Frame(config=str(write_settings(tmp_path, state="/proc/nowhere")), is_json=True)
    (state,) = [found for found in examine(frame) if found.name == "state"]
    assert (state.is_ok, state.detail) == (False, "/proc/nowhere cannot be written")
    with pytest.raises(SettingsError, match="state: the folder /proc/nowhere cannot be made"):
        frame.project().ledger.generation()


def test_an_old_server_is_to_be_upgraded(qdrant: LoopbackQdrant, tmp_path: Path) -> None:
    qdrant.version = "1.18.3"
    found = looked_at_store(tmp_path, qdrant.url)
    assert not found.is_ok
    assert "server 1.18.3" in found.detail
    assert "upgrade it to 1.19.0 or newer" in found.remedy
