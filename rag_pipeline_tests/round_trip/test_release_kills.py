"""kill -9 at named places of reindex, switch, refusal, rollback and retention: readers are served, the next run completes it."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from rag_pipeline.operations.progress import SILENT
from rag_pipeline.project import Project
from rag_pipeline.schema import CollectionState
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.indexes import copy
from rag_pipeline_tests.projects import article, fill, open_project, write_settings
from rag_pipeline_tests.round_trip.dying_run import (
    BLOCKED,
    KILLED,
    Kill,
    Points,
    ask,
    assert_equal_points,
    fresh_points,
    read_log,
    read_points,
    run,
)

deep = pytest.mark.deep
BOTH = ("before", "after")
OLD_MODEL, NEW_MODEL = {"batch_tokens": 256}, {"batch_tokens": 256, "document_prompt": "passage: "}
QUESTION, ANSWER = "Part 2 of topic19", "docs/topic19.md"
"""No history touches this document."""


def kills(place: str, *calls: int, about: str = "", moments: tuple[str, ...] = BOTH) -> list[Kill]:
    return [Kill(place, call, moment, about) for call in calls or (1,) for moment in moments]


AFTER = ("after",)
"""Where one call follows on another, before the second is after the first: not tried twice."""
REINDEX = [
    *kills("store.create_collection"),
    *kills("ledger.put_collection", about="building", moments=AFTER),
    *kills("chunk_artifact.append", 2, moments=AFTER),
    *kills("vector_artifact.append", 1, 5),
    *kills("store.upsert", 1, about="the live one", moments=AFTER),
    *kills("store.upsert", 1, about="the candidate"),
    *kills("store.upsert", 3, about="the candidate", moments=AFTER),
    *kills("ledger.put_bucket_state", 1, 4, about="the candidate", moments=AFTER),
    *kills("store.optimize", moments=AFTER),
    *kills("ledger.put_collection", about="caught_up", moments=AFTER),
    *kills("chunk_artifact.replace", moments=AFTER),
]
BETWEEN_SLICES = kills("ledger.writer_lock", 2, 3, moments=("before",))
SWITCH = [
    *kills("store.delete", about="the candidate"),
    *kills("ledger.add_decision", about="gate"),
    *kills("ledger.put_collection", about="validated", moments=AFTER),
    *kills("store.switch_alias"),
    *kills("ledger.put_collection", about="live", moments=AFTER),
    *kills("ledger.put_collection", about="retired", moments=AFTER),
    *kills("ledger.add_decision", about="switch", moments=AFTER),
]
IN_PLACE = kills("store.set_metadata")
REFUSAL = [
    *kills("ledger.add_decision", about="gate"),
    *kills("ledger.set_meta", about="refusals", moments=AFTER),
    *kills("ledger.put_collection", about="refused", moments=AFTER),
]
ROLLBACK = [
    *kills("store.upsert", about="docs"),
    *kills("ledger.set_meta", about="refusals"),
    *kills("store.switch_alias", moments=AFTER),
    *kills("ledger.put_collection", about="live", moments=AFTER),
    *kills("ledger.put_collection", about="retired", moments=AFTER),
    *kills("ledger.add_decision", about="rollback", moments=AFTER),
    *kills("ledger.put_collection", about="refused", moments=AFTER),
]
RETENTION = [
    *kills("store.drop_collection"),
    *kills("ledger.forget_bucket_states", moments=AFTER),
    *kills("ledger.put_collection", about="dropped", moments=AFTER),
    *kills("ledger.add_decision", about="drop", moments=AFTER),
    *kills("artifacts.drop", about="chunks", moments=AFTER),
    *kills("artifacts.drop", about="embeddings", moments=AFTER),
]


def settings_of(folder: Path, **changes: Any) -> Path:
    return write_settings(folder, **{"embedding": OLD_MODEL, "delete_brake": {"max_documents": 1000}, **changes})


def edit(folder: Path, number: int) -> None:
    """One document of each kind of change."""
    docs = folder / "docs"
    fill(docs, {f"topic{number}.md": article(f"edited topic{number}", 5), f"new{number}.md": article(f"new{number}", 2)})
    (docs / f"topic{number + 1}.md").rename(docs / f"renamed{number}.md")
    (docs / f"topic{number + 2}.md").unlink()


def succeed(file: Path, operation: str) -> None:
    assert run(file, file.parent / "embedded.log", operation=operation) == 0


@dataclass(frozen=True)
class Stages:
    """Folders with a prepared state, each made from the one before and copied by the tests that start from it."""

    root: Path

    def copy(self, name: str, folder: Path) -> Path:
        folder.mkdir(exist_ok=True)
        copy(_made(self, name), folder)
        (folder / "embedded.log").unlink(missing_ok=True)
        return folder / "rag_pipeline.yaml"

    def fresh(self, name: str) -> Points:
        return _fresh(self, name)

    def indexed(self, folder: Path) -> None:
        """Live under the old model; the settings ask for the new one, and the sources have moved on."""
        file = settings_of(folder)
        fill(folder / "docs", {f"topic{i}.md": article(f"topic{i}", 4) for i in range(20)})
        succeed(file, "index")
        settings_of(folder, embedding=NEW_MODEL)
        edit(folder, 0)

    def sliced(self, folder: Path) -> None:
        """As before, with slices that are over at once."""
        self.copy("indexed", folder)
        settings_of(folder, embedding=NEW_MODEL, release={"follow_interval_s": 0.001})

    def in_place(self, folder: Path) -> None:
        """The settings cut otherwise, which the live collection takes in place."""
        self.copy("indexed", folder)
        settings_of(folder, chunking={"types": {"markdown": {"heading_context": False}}})

    def built(self, folder: Path) -> None:
        """The candidate is built, and the sources have moved on again."""
        succeed(self.copy("indexed", folder), "reindex")
        edit(folder, 4)

    def poor(self, folder: Path) -> None:
        """As before, but the gate will refuse: a question that must be answered cannot be."""
        self.copy("built", folder)
        canary = {"query": "what is nowhere", "relevant": ["docs/nowhere.md"]}
        (folder / "canaries.jsonl").write_text(json.dumps(canary) + "\n")
        settings_of(folder, embedding=NEW_MODEL, release={"canaries": "canaries.jsonl"})

    def released(self, folder: Path) -> None:
        """The new model is live, the old one retired, and the sources have moved on."""
        succeed(self.copy("built", folder), "release")
        edit(folder, 8)

    def expired(self, folder: Path) -> None:
        """As before, everything followed, and no grace time left."""
        file = self.copy("released", folder)
        succeed(file, "index")
        settings_of(folder, embedding=NEW_MODEL, release={"grace_hours": 0})


@cache
def _made(stages: Stages, name: str) -> Path:
    folder = stages.root / name
    make: Callable[[Path], None] = getattr(stages, name)
    make(folder)
    return folder


@cache
def _fresh(stages: Stages, name: str) -> Points:
    """What the documents of a stage become in an empty state, under its settings."""
    return fresh_points(_made(stages, name) / "rag_pipeline.yaml", stages.root / f"fresh-{name}")


@cache
def _fresh_old(stages: Stages, name: str) -> Points:
    """The same under the old model."""
    folder = stages.root / f"old-{name}"
    shutil.copytree(_made(stages, name) / "docs", folder / "docs")
    return fresh_points(settings_of(folder), stages.root / f"fresh-old-{name}")


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    return Stages(tmp_path_factory.mktemp("stages"))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Gone after the test: the engine's files are large."""
    yield tmp_path
    shutil.rmtree(tmp_path)


class After:
    """The state after a kill, and what must hold from there on."""

    def __init__(self, stages: Stages, stage: str, folder: Path, operation: str, kill: Kill) -> None:
        self.stages, self.stage = stages, stage
        self.file, self.log = stages.copy(stage, folder), folder / "embedded.log"
        self.was_live = self.live()
        assert run(self.file, self.log, kill, operation=operation) == KILLED

    def live(self) -> str:
        """The collection behind the alias, proven to answer."""
        alias, found = ask(self.file, QUESTION)
        assert alias is not None
        assert ANSWER in found
        return alias

    def go_on(self, operation: str, *, wanted: int = 0) -> None:
        assert run(self.file, self.log, operation=operation) == wanted
        self.live()

    def assert_settled(self, wanted: Points) -> None:
        """The live collection is ``wanted``; it and the retired ones are clean, in step, and nothing was embedded twice."""
        project = open_project(self.file, parser=FakeParser())
        try:
            chosen = project.collections()
            assert chosen.live is not None
            assert_equal_points(read_points(project, chosen.live.name), wanted)
            assert findings(project) == {record.name: [] for record in (chosen.live, *chosen.retired)}
            states = [record.state for record in project.ledger.collections("docs")]
            assert states.count(CollectionState.LIVE) == 1
        finally:
            project.close()
        twice, batch = read_log(self.log)
        assert twice <= batch


def findings(project: Project) -> dict[str, list[str]]:
    """What is wrong with each collection that is live or kept for a rollback."""
    return {
        record.name: [f"{f.kind} {f.subject}" for f in fsck_of(project, record)]
        for record in project.ledger.collections("docs")
        if record.state in (CollectionState.LIVE, CollectionState.RETIRED)
    }


def fsck_of(project: Project, record: Any) -> list[Any]:
    is_live = record.state is CollectionState.LIVE
    return project.parts(record).fsck(is_live=is_live).check(project.buckets, SILENT).findings


def survive_reindex(stages: Stages, folder: Path, kill: Kill, stage: str = "indexed") -> None:
    after = After(stages, stage, folder, "reindex", kill)
    assert after.live() == after.was_live
    after.go_on("reindex")
    assert after.live() == after.was_live
    after.go_on("release")
    assert after.live() != after.was_live
    after.assert_settled(stages.fresh(stage))


def survive_switch(stages: Stages, folder: Path, kill: Kill) -> None:
    after = After(stages, "built", folder, "release", kill)
    after.live()
    after.go_on("release")
    assert after.live() != after.was_live
    after.assert_settled(stages.fresh("built"))


def survive_rollback(stages: Stages, folder: Path, kill: Kill) -> None:
    after = After(stages, "released", folder, "roll_back", kill)
    is_back = after.live() != after.was_live
    after.go_on("roll_back", wanted=BLOCKED if is_back else 0)
    assert after.live() != after.was_live
    after.go_on("reindex", wanted=BLOCKED)  # the refusal is remembered
    after.go_on("index")
    after.assert_settled(_fresh_old(stages, "released"))


@deep
@pytest.mark.parametrize("kill", REINDEX, ids=str)
def test_reindex_survives_a_kill(stages: Stages, folder: Path, kill: Kill) -> None:
    survive_reindex(stages, folder, kill)


@deep
@pytest.mark.parametrize("kill", BETWEEN_SLICES, ids=str)
def test_reindex_survives_a_kill_between_slices(stages: Stages, folder: Path, kill: Kill) -> None:
    survive_reindex(stages, folder, kill, "sliced")


@deep
@pytest.mark.parametrize("kill", SWITCH, ids=str)
def test_switch_survives_a_kill(stages: Stages, folder: Path, kill: Kill) -> None:
    survive_switch(stages, folder, kill)


@deep
@pytest.mark.parametrize("kill", IN_PLACE, ids=str)
def test_change_in_place_survives_a_kill(stages: Stages, folder: Path, kill: Kill) -> None:
    after = After(stages, "in_place", folder, "index", kill)
    after.go_on("index")
    assert after.live() == after.was_live
    after.assert_settled(stages.fresh("in_place"))


@deep
@pytest.mark.parametrize("kill", REFUSAL, ids=str)
def test_refusal_survives_a_kill(stages: Stages, folder: Path, kill: Kill) -> None:
    after = After(stages, "poor", folder, "release", kill)
    after.go_on("release", wanted=BLOCKED)
    after.go_on("reindex", wanted=BLOCKED)
    assert after.live() == after.was_live
    after.go_on("index")
    after.assert_settled(_fresh_old(stages, "poor"))


@deep
@pytest.mark.parametrize("kill", ROLLBACK, ids=str)
def test_rollback_survives_a_kill(stages: Stages, folder: Path, kill: Kill) -> None:
    survive_rollback(stages, folder, kill)


def test_going_back_again_never_returns_to_what_was_refused(stages: Stages, folder: Path) -> None:
    after = After(stages, "released", folder, "roll_back", Kill("store.switch_alias", moment="after"))
    settings_of(folder)  # the settings went back too
    after.go_on("roll_back", wanted=BLOCKED)
    assert after.live() != after.was_live


@deep
@pytest.mark.parametrize("kill", RETENTION, ids=str)
def test_retention_survives_a_kill(stages: Stages, folder: Path, kill: Kill) -> None:
    after = After(stages, "expired", folder, "retain", kill)
    assert after.live() == after.was_live
    after.go_on("retain")
    after.go_on("index")
    after.assert_settled(stages.fresh("expired"))
    project = open_project(after.file, parser=FakeParser())
    try:
        assert project.store.collections() == [after.was_live]
        assert project.artifacts.names("chunks") == [after.was_live]
        assert len(project.artifacts.names("embeddings")) == 1
    finally:
        project.close()


def test_a_killed_switch_is_one_or_the_other(stages: Stages, folder: Path) -> None:
    survive_switch(stages, folder, Kill("store.switch_alias", moment="after"))
