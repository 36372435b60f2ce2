"""A candidate with anything wrong never goes live; one with nothing wrong does."""

import json
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_pipeline.errors import ReleaseBlockedError
from rag_pipeline.operations.gate import find_verdict
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.operations.reindex import reindex
from rag_pipeline.operations.release import release, validate
from rag_pipeline.project import Project
from rag_pipeline.schema import CollectionState, Vector, VectorSpace
from rag_pipeline_tests.fakes.embedder import HashEmbedder
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.projects import check, dump, embedder_of, fill, fresh_dump
from rag_pipeline_tests.release.damages import DAMAGES, Damage, Place, alter_text, lose_document, miscount
from rag_pipeline_tests.release.flows import (
    ask_for_new_model,
    build_candidate,
    closing,
    copy_of,
    live_name,
    make_pair,
    open_quick,
    story,
)

DOCUMENTS = 24
PLACES = 10
CLEAN = 20
OTHER_MODEL = {"document_prompt": "text: "}
SLOW_S = 0.2
"""Ten times what a whole search takes."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("pair")
    yield make_pair(folder, documents=DOCUMENTS)
    shutil.rmtree(folder)


@pytest.fixture
def project(original: Path, tmp_path: Path) -> Iterator[Project]:
    with closing(open_quick(copy_of(original, tmp_path / "copy"))) as project:
        yield project


def place_of(project: Project, number: int = 0) -> Place:
    candidate = project.collections().candidate
    assert candidate is not None
    return Place(project, candidate, number)


def go(project: Project) -> Any:
    return release(project, approve=False, by="test", progress=SILENT)


def assert_refused(project: Project, candidate: str, *, check_name: str, reason: str) -> None:
    """Refused by this check for this reason; live, clean and untouched, stays behind the alias; the refusal is remembered."""
    live = live_name(project)
    with pytest.raises(ReleaseBlockedError) as refusal:
        go(project)
    assert f"{check_name}: " in str(refusal.value)
    assert reason in str(refusal.value)
    assert live_name(project) == live != candidate
    verdict = find_verdict(project, candidate)
    assert verdict is not None
    assert next(done.name for done in verdict.checks if not done.passed) == check_name
    assert_live_and_refused(project, live, candidate)
    with pytest.raises(ReleaseBlockedError, match="was refused"):
        go(project)
    with pytest.raises(ReleaseBlockedError, match="refused before"):
        reindex(project, project.buckets, progress=SILENT)
    assert check(project).findings == []
    assert live_name(project) == live


def assert_live_and_refused(project: Project, live: str, candidate: str) -> None:
    states = {record.name: record.state for record in project.ledger.collections(project.settings.alias)}
    assert (states[live], states[candidate]) == (CollectionState.LIVE, CollectionState.REFUSED)


def refuse_damaged(project: Project, damage: Damage, number: int) -> None:
    place = place_of(project, number)
    damage(place)
    check_name, reason = DAMAGES[damage]
    assert_refused(project, place.name, check_name=check_name, reason=reason)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_candidate_is_refused(project: Project, damage: Damage) -> None:
    refuse_damaged(project, damage, 3)


@pytest.mark.deep
@pytest.mark.parametrize("number", range(PLACES))
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_anywhere_is_refused(project: Project, damage: Damage, number: int) -> None:
    refuse_damaged(project, damage, number)


def change_sources(docs: Path, number: int) -> None:
    """A few edits, a deletion, a rename and a new document, other ones for every number."""
    for i in range(number % 4):
        fill(docs, {f"report{(number + i) % DOCUMENTS}.md": story(number + i, version=2)})
    if number % 2:
        (docs / f"report{(number + 9) % DOCUMENTS}.md").unlink()
    if number % 3:
        (docs / f"report{(number + 14) % DOCUMENTS}.md").rename(docs / f"moved{number}.md")
    fill(docs, {f"new{number}.md": story(1000 + number)})


def release_clean(project: Project, number: int) -> None:
    place = place_of(project)
    if number:
        change_sources(project.settings.root / "docs", number)
    done = go(project)
    assert (done.is_switched, done.collection) == (True, place.name)
    assert live_name(project) == place.name
    assert check(project).findings == []
    folder = project.settings.root / "fresh"
    assert dump(project) == fresh_dump(project, folder, parser=FakeParser())


@pytest.mark.parametrize("number", [0, 7], ids=["as_built", "behind_its_sources"])
def test_clean_candidate_goes_live(project: Project, number: int) -> None:
    release_clean(project, number)


@pytest.mark.deep
@pytest.mark.parametrize("number", range(CLEAN))
def test_every_clean_candidate_goes_live(project: Project, number: int) -> None:
    release_clean(project, number)


def test_damage_between_verdict_and_switch_is_refused(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    place, moves = place_of(project, 2), list[str]()
    verdict = validate(project, progress=SILENT)
    assert verdict is not None
    assert verdict.passed
    alter_text(place)
    monkeypatch.setattr(project.store, "switch_alias", lambda alias, collection: moves.append(collection))
    assert_refused(project, place.name, check_name="fsck", reason="payload")
    assert moves == []


def test_forced_reindex_mends_a_damaged_candidate(project: Project) -> None:
    place = place_of(project, 5)
    alter_text(place)
    lose_document(place)
    with pytest.raises(ReleaseBlockedError):
        go(project)
    outcome = reindex(project, project.buckets, force=True, progress=SILENT)
    assert outcome.is_complete
    assert outcome.build.embedded == 0
    assert go(project).collection == outcome.candidate.name
    assert check(project).findings == []


# --- the other checks of the gate -----------------------------------------------------------------------------------


class NoiseEmbedder(HashEmbedder):
    """A model that understands nothing: every text has a direction of its own, near no other."""

    def _embed(self, text: str) -> Vector:
        noise = np.random.default_rng(zlib.crc32(text.encode())).standard_normal(self.dimension)
        return (noise / np.linalg.norm(noise)).astype(np.float32)


class SlowEmbedder(HashEmbedder):
    """A good model that takes its time for a question."""

    def embed_query(self, text: str) -> Vector:
        time.sleep(SLOW_S)
        return super().embed_query(text)


def write_questions(file: Path, amount: int) -> None:
    """Questions in words of the documents that answer them."""
    lines = []
    for number in range(amount):
        words = story(number).splitlines()[0].removeprefix("# ").split(": ")[1]
        lines.append(json.dumps({"query": f"what do we know of {words}", "relevant": [f"report{number}.md"]}))
    file.write_text("\n".join(lines))


def pair_under(
    original: Path,
    folder: Path,
    model: type[HashEmbedder],
    questions: int,
    *,
    settings: Mapping[str, Any] | None = None,
    **limits: Any,
) -> Iterator[Project]:
    """The live collection of a good model, and a candidate of another one."""
    copy_of(original, folder)
    write_questions(folder / "questions.jsonl", questions)
    file = ask_for_new_model(folder, embedding=OTHER_MODEL, release=limits, **(settings or {}))
    project = open_quick(file)

    def model_of(space: VectorSpace) -> HashEmbedder:
        if space.document_prompt != OTHER_MODEL["document_prompt"]:
            return embedder_of(space)
        return model(space.dimension, document_prompt=space.document_prompt, salt="other")

    project.models.open = lambda facts, space: model_of(space)
    with closing(project):
        build_candidate(project)
        yield project


@pytest.fixture
def senseless(original: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    yield from pair_under(original, tmp_path / "copy", NoiseEmbedder, 12, limit=1, **request.param)


@pytest.fixture
def slow(original: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    yield from pair_under(original, tmp_path / "copy", SlowEmbedder, 3, golden_set="questions.jsonl", **request.param)


def refuse_other(project: Project, *, check_name: str, reason: str) -> None:
    assert_refused(project, place_of(project).name, check_name=check_name, reason=reason)


@pytest.mark.parametrize("senseless", [{"golden_set": "questions.jsonl"}], indirect=True, ids=["golden"])
def test_model_that_fails_the_golden_questions_is_refused(senseless: Project) -> None:
    refuse_other(senseless, check_name="retrieval", reason="recall@1")


ALONE = {"retrieval": {"dense_weight": 1.0}}
"""Without BM25, which finds most headings whatever the model does."""


@pytest.mark.deep
@pytest.mark.parametrize("senseless", [{"settings": ALONE}], indirect=True, ids=["headings"])
def test_model_that_fails_questions_from_headings_is_refused(senseless: Project) -> None:
    refuse_other(senseless, check_name="retrieval", reason="weaker than a golden set")


LENIENT = {"max_drop": 1, "min_recall": 0, "min_overlap": 0}


@pytest.mark.parametrize("senseless", [{"canaries": "questions.jsonl", **LENIENT}], indirect=True, ids=["canaries"])
def test_model_that_misses_a_canary_is_refused(senseless: Project) -> None:
    refuse_other(senseless, check_name="canaries", reason="not found")


@pytest.mark.parametrize("senseless", [{"max_drop": 1, "min_recall": 0, "min_overlap": 0.3}], indirect=True, ids=["overlap"])
def test_model_that_sees_other_neighbours_is_refused(senseless: Project) -> None:
    refuse_other(senseless, check_name="neighbours", reason="in common")


@pytest.mark.deep
@pytest.mark.parametrize("slow", [{"latency_ok_ms": 0}], indirect=True, ids=["no_allowance"])
def test_model_that_is_far_slower_is_refused(slow: Project) -> None:
    refuse_other(slow, check_name="latency", reason="p95")


@pytest.mark.deep
@pytest.mark.parametrize("slow", [{}], indirect=True, ids=["allowance"])
def test_slowness_that_nobody_feels_is_let_through(slow: Project) -> None:
    assert go(slow).is_switched


# --- right after the switch -----------------------------------------------------------------------------------------


def spoil_after_switch(project: Project, damage: Damage) -> None:
    """The damage comes with the switch, when the gate has passed."""
    place, store = place_of(project, 4), project.store
    switch_alias = store.switch_alias

    def switch_then_spoil(alias: str, collection: str) -> None:
        switch_alias(alias, collection)
        if collection == place.name:
            damage(place)

    store.switch_alias = switch_then_spoil  # type: ignore[method-assign]


DEEP_FAULTS = [pytest.param(damage, marks=pytest.mark.deep) for damage in (alter_text, miscount)]


@pytest.mark.parametrize("damage", [lose_document, *DEEP_FAULTS], ids=lambda damage: damage.__name__)
def test_fault_right_after_the_switch_goes_back(project: Project, damage: Damage) -> None:
    candidate, live = place_of(project).name, live_name(project)
    spoil_after_switch(project, damage)
    with pytest.raises(ReleaseBlockedError, match="was live for a moment") as told:
        go(project)
    assert DAMAGES[damage][1] in str(told.value)
    assert live_name(project) == live
    newest = project.ledger.decisions(kind="rollback")[0].content
    assert (newest["from"], newest["to"], newest["by"]) == (candidate, live, "automatic")
    assert_live_and_refused(project, live, candidate)
    assert check(project).findings == []
    with pytest.raises(ReleaseBlockedError, match="refused before: gone back right after the switch"):
        reindex(project, project.buckets, progress=SILENT)
