"""A second collection built beside the live one: with the least work, followed by what the sources say meanwhile."""

import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rag_pipeline.errors import ModelChangedError, RagPipelineError, ReleaseBlockedError
from rag_pipeline.indexing.cost import space_of
from rag_pipeline.indexing.identity import text_digest
from rag_pipeline.operations import reindex as slices
from rag_pipeline.operations.plan import make_plan
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.operations.reindex import ReindexReport, is_reindex_paused, pause_reindex, reindex
from rag_pipeline.operations.release import release, roll_back
from rag_pipeline.operations.retention import retain
from rag_pipeline.project import Project
from rag_pipeline.schema import CollectionState, DocumentType, Matrix, ModelFacts, VectorSpace
from rag_pipeline_tests.fakes.embedder import HashEmbedder
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.indexes import BATCHES, PROMPT, TOTAL, Index, copy, make, points
from rag_pipeline_tests.packaged_model import packaged_facts
from rag_pipeline_tests.projects import (
    article,
    check,
    dump,
    embedder_of,
    fill,
    fresh_dump,
    index_once,
    open_project,
    uris,
    write_settings,
)

EXAMPLES = Path(__file__).parents[2] / "examples" / "documents"
SLICES = {"follow_interval_s": 0.01}
"""A slice of one batch or bucket."""


@dataclass
class Watched:
    """An embedder that tells of every batch before it is embedded."""

    inner: HashEmbedder
    before: Callable[[int], None]
    batches: list[list[str]] = field(default_factory=list)

    @property
    def dimension(self) -> int:
        return self.inner.dimension

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        self.before(len(self.batches))
        self.batches.append(list(texts))
        return self.inner.embed_documents(texts)

    def embed_query(self, text: str) -> Any:
        return self.inner.embed_query(text)

    def describe(self) -> Any:
        return self.inner.describe()


@pytest.fixture(autouse=True)
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between slices, and a look at the sources and at the flag in each."""
    for name in ("TURN_S", "LOOK_S", "LOOK_SHARE"):
        monkeypatch.setattr(slices, name, 0.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("made"), embedding=BATCHES)


@pytest.fixture
def index(made: Path, tmp_path: Path) -> Iterator[Index]:
    index = Index(copy(made, tmp_path / "index"), embedding=BATCHES)
    yield index
    index.project.close()


def build(project: Project, **options: Any) -> ReindexReport:
    return reindex(project, options.pop("buckets", project.buckets), progress=SILENT, **options)


def watch(project: Project, before: Callable[[int], None]) -> Watched:
    """Tells of every batch of the model that the settings ask for."""
    watched = Watched(embedder_of(project.spec.vector_space), before)
    wanted = project.spec.vector_space

    def opened(facts: ModelFacts, space: VectorSpace) -> Any:
        return watched if space == wanted else embedder_of(space)

    project.models.open = opened
    return watched


def switch(project: Project) -> None:
    assert release(project, approve=False, by="test", progress=SILENT).is_switched


def texts_of(project: Project, collection: str) -> set[bytes]:
    """Digests of the texts whose vectors a collection needs."""
    chunks = project.artifacts.chunks(collection)
    rows = (row for bucket in project.buckets for row in chunks.read(bucket))
    return {text_digest(chunk.embedded_text) for row in rows for chunk in row.chunks}


def kept_vectors(project: Project) -> set[bytes]:
    """Digests whose vectors lie in the artifact of the wanted vector space."""
    chosen = project.collections()
    vectors = project.parts(chosen.candidate or chosen.target, project.spec).vectors
    return {digest for bucket in vectors.buckets() for digest in vectors.digests(bucket)}


# --- the least work ---


def test_nothing_is_built_when_the_settings_ask_for_nothing(index: Index) -> None:
    done = build(index.under(embedding=BATCHES))
    assert (done.candidate, done.is_complete, done.slices) == (None, False, 0)


def test_a_new_prompt_parses_nothing_and_leaves_the_live_collection_alone(index: Index, tmp_path: Path) -> None:
    before = dump(index.project)
    project = index.under(embedding=PROMPT)
    done = build(project)
    assert done.candidate is not None
    assert (done.build.parsed, done.build.chunked, index.parser.parsed) == (0, TOTAL, [])
    assert done.build.embedded == len(texts_of(project, done.candidate.name))
    assert (done.is_complete, done.candidate.state) == (True, CollectionState.CAUGHT_UP)
    assert (project.store.resolve_alias("docs"), dump(project)) == (index.first, before)
    switch(project)
    assert dump(project) == fresh_dump(project, tmp_path / "fresh", parser=FakeParser())


@pytest.mark.parametrize("change", [{"query_prompt": "query: "}, {"dimension": 128}], ids=["query_prompt", "dimension"])
def test_a_model_that_reads_texts_alike_cuts_nothing_again(index: Index, change: dict[str, Any], tmp_path: Path) -> None:
    project = index.under(embedding={**BATCHES, **change})
    done = build(project)
    assert (done.build.parsed, done.build.chunked) == (0, 0)
    assert done.build.embedded == done.build.chunks == TOTAL
    switch(project)
    assert check(project).findings == []
    assert dump(project) == fresh_dump(project, tmp_path / "fresh", parser=FakeParser())


def test_other_chunks_in_the_same_space_embed_only_texts_that_are_new(index: Index) -> None:
    chunking = {"types": {"markdown": {"heading_context": False}}}
    before = texts_of(index.project, index.first)
    text_file = {"plain.txt": "One plain sentence of text.\n"}
    fill(index.docs, text_file)
    index_once(index.project)
    project = index.under(embedding=BATCHES, chunking=chunking, release={"strategy": {"chunking": "candidate"}})
    watched = watch(project, lambda number: None)
    done = build(project)
    assert done.candidate is not None
    assert done.candidate.name != index.first
    embedded = {text_digest(text) for batch in watched.batches for text in batch}
    assert embedded
    assert not embedded & before
    assert embedded == texts_of(project, done.candidate.name) - texts_of(project, index.first)
    assert (done.build.parsed, done.build.chunked) == (0, TOTAL)


@pytest.mark.deep
def test_chunks_of_one_type_change_in_place_and_touch_only_that_type(index: Index, tmp_path: Path) -> None:
    fill(index.docs, {"plain.txt": "One plain sentence of text.\n"})
    index_once(index.project)
    before = {key: value for key, value in dump(index.project).items() if value["uri"].endswith(".txt")}
    project = index.under(embedding=BATCHES, chunking={"types": {"markdown": {"heading_context": False}}})
    assert build(project).candidate is None
    _, report = index_once(project)
    after = dump(project)
    assert (report.parsed, report.chunked, project.target.name) == (0, TOTAL, index.first)
    assert {key: value for key, value in after.items() if value["uri"].endswith(".txt")} == before
    assert after == fresh_dump(project, tmp_path / "fresh", parser=FakeParser())


@pytest.mark.deep
def test_going_back_in_the_settings_embeds_nothing(index: Index) -> None:
    project = index.under(embedding=PROMPT)
    build(project)
    switch(project)
    project = index.under(embedding=BATCHES)
    done = build(project)
    assert done.candidate is not None
    assert (done.candidate.name, done.build.embedded, done.build.chunked) == (index.first, 0, 0)
    switch(project)
    assert project.store.resolve_alias("docs") == index.first
    assert check(project).findings == []


@pytest.mark.deep
def test_a_third_wish_gives_up_the_second(index: Index) -> None:
    second = build(index.under(embedding=PROMPT)).candidate
    project = index.under(embedding={**BATCHES, "dimension": 128})
    third = build(project).candidate
    assert second is not None
    assert third is not None
    states = {record.name: record for record in project.ledger.collections("docs")}
    assert states[second.name].state is CollectionState.REFUSED
    assert "superseded" in states[second.name].reason
    switch(project)
    back = build(index.under(embedding=PROMPT))
    assert back.candidate is not None
    assert (back.candidate.name, back.build.embedded) == (second.name, 0)


# --- what happens meanwhile ---


def test_live_and_candidate_follow_an_edit_a_deletion_and_a_new_document(index: Index, tmp_path: Path) -> None:
    project = index.under(embedding=PROMPT, release=SLICES)
    seen: list[set[str]] = []

    def change(number: int) -> None:
        if number == 3:
            fill(index.docs, {"topic0.md": article("topic0, edited"), "new.md": article("novelty")})
            (index.docs / "topic1.md").unlink()
        if number == 8:
            seen.append(points(project, index.first))

    watch(project, change)
    done = build(project)
    assert done.slices > 3
    wanted = {"docs/new.md", *(f"docs/topic{i}.md" for i in range(TOTAL) if i != 1)}
    assert seen == [wanted]
    assert done.candidate is not None
    assert points(project, done.candidate.name) == wanted
    assert done.problems == []
    switch(project)
    assert check(project).findings == []
    assert dump(project) == fresh_dump(project, tmp_path / "fresh", parser=FakeParser())


def test_quarantine_and_return_reach_the_candidate(index: Index, tmp_path: Path) -> None:
    (index.docs / "returns.md").write_bytes(b"\0")
    index_once(index.project)
    project = index.under(embedding=PROMPT, release=SLICES)

    def change(number: int) -> None:
        if number == 3:
            (index.docs / "topic2.md").write_bytes(b"\0 and more")
            fill(index.docs, {"returns.md": article("return")})

    watch(project, change)
    done = build(project)
    switch(project)
    assert done.candidate is not None
    assert "docs/returns.md" in points(project, done.candidate.name)
    assert "docs/topic2.md" in points(project, done.candidate.name)  # its last good version
    assert {entry.path for entry in project.ledger.quarantine()} == {"topic2.md"}
    assert check(project).findings == []


def test_what_comes_after_the_build_is_caught_up_before_the_switch(index: Index) -> None:
    project = index.under(embedding=PROMPT)
    build(project)
    fill(index.docs, {"late.md": article("lateness")})
    (index.docs / "topic5.md").unlink()
    switch(project)
    found = uris(dump(project).values())
    assert "docs/late.md" in found
    assert "docs/topic5.md" not in found
    assert points(project, index.first) == found


def test_a_retired_collection_stays_fresh_for_a_rollback(index: Index) -> None:
    project = index.under(embedding=PROMPT)
    build(project)
    switch(project)
    fill(index.docs, {"late.md": article("lateness")})
    (index.docs / "topic5.md").unlink()
    done = roll_back(project, reason="users complain", by="test", progress=SILENT)
    assert (done.collection, project.store.resolve_alias("docs")) == (index.first, index.first)
    found = points(project, index.first)
    assert "docs/late.md" in found
    assert "docs/topic5.md" not in found
    with pytest.raises(ReleaseBlockedError, match=r"refused before: users complain.*--force"):
        build(project)


# --- parts, pauses and ends ---


def test_buckets_can_be_built_apart(index: Index) -> None:
    project = index.under(embedding=PROMPT)
    first = build(project, buckets=["00", "01"])
    assert first.candidate is not None
    assert (first.is_complete, first.candidate.state) == (False, CollectionState.BUILDING)
    assert set(project.ledger.bucket_states(first.candidate.name)) == {"00", "01"}
    with pytest.raises(ReleaseBlockedError, match=r"2 buckets of .* are not built yet; run rag reindex"):
        switch(project)
    second = build(project, buckets=["02", "03"])
    assert (second.is_complete, second.build.in_step) == (True, 0)
    switch(project)
    assert check(project).findings == []


def test_a_pause_stops_after_the_batch_and_the_next_run_goes_on(index: Index) -> None:
    project = index.under(embedding=PROMPT)
    watched = watch(project, lambda number: pause_reindex(project, is_paused=True) if number == 2 else None)
    done = build(project)
    assert (done.is_paused, done.is_complete, is_reindex_paused(project)) == (True, False, True)
    kept = kept_vectors(project)
    assert 0 < len(kept) < TOTAL
    assert len(watched.batches) <= 6
    pause_reindex(project, is_paused=False)
    again = build(project)
    assert (again.is_complete, again.build.embedded) == (True, TOTAL - len(kept))


@pytest.mark.deep
def test_a_run_of_a_paused_reindex_does_one_step_at_most(index: Index) -> None:
    project = index.under(embedding=PROMPT)
    pause_reindex(project, is_paused=True)
    done = build(project)
    assert (done.is_paused, done.is_complete, done.slices) == (True, False, 1)
    assert done.build.embedded < TOTAL


@pytest.mark.parametrize("batch", [1, *(pytest.param(batch, marks=pytest.mark.deep) for batch in (0, 5))])
def test_a_cancelled_run_costs_at_most_the_batch_in_flight(index: Index, batch: int) -> None:
    project = index.under(embedding=PROMPT)

    def cancel(number: int) -> None:
        if number == batch:
            raise KeyboardInterrupt

    watched = watch(project, cancel)
    with pytest.raises(KeyboardInterrupt):
        build(project)
    asked, kept = {text for texts in watched.batches for text in texts}, kept_vectors(project)
    assert len(asked) == len(kept)
    assert project.store.resolve_alias("docs") == index.first
    project = index.under(embedding=PROMPT)
    done = build(project)
    assert (done.is_complete, done.build.embedded) == (True, TOTAL - len(kept))
    switch(project)
    assert check(project).findings == []


def test_a_tiny_interval_gets_on_all_the_same(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    project = index.under(embedding=PROMPT, release={"follow_interval_s": 1e-9})
    work, worked = slices._work_one_slice, itertools.count(1)

    def one_slice(*args: Any) -> None:
        assert next(worked) <= 3 * TOTAL, "slices that do nothing"
        work(*args)

    monkeypatch.setattr(slices, "_work_one_slice", one_slice)
    done = build(project)
    assert done.is_complete
    assert done.slices >= 4


# --- refusals ---


def test_too_little_free_space_is_refused_before_anything_is_written(index: Index) -> None:
    project = index.under(embedding=PROMPT)
    project.store.free_bytes = lambda: 2**29  # type: ignore[method-assign]
    with pytest.raises(ReleaseBlockedError, match=r"0\.50 GiB are free; free some space, or lower release\.min_free_gb"):
        build(project)
    assert project.store.collections() == [index.first]
    assert [record.name for record in project.ledger.collections("docs")] == [index.first]


@pytest.mark.deep
@pytest.mark.parametrize(("free", "floor_gb"), [(None, 10**6), (2**29, 0.1)])
def test_enough_space_or_a_store_that_does_not_tell_is_no_refusal(index: Index, free: int | None, floor_gb: float) -> None:
    project = index.under(embedding=PROMPT, release={"min_free_gb": floor_gb})
    project.store.free_bytes = lambda: free  # type: ignore[method-assign]
    assert build(project).is_complete


@pytest.mark.deep
def test_the_plan_says_beforehand_what_the_reindex_does(index: Index) -> None:
    project = index.under(embedding=PROMPT)
    plan = make_plan(project)
    assert plan.release is not None
    assert plan.index.buckets == 0
    planned = plan.release
    assert project.store.collections() == [index.first]
    done = build(project)
    assert done.candidate is not None
    assert planned.collection == done.candidate.name
    assert (planned.plan.parse, planned.plan.chunk, planned.plan.embed) == (0, done.build.chunked, done.build.embedded)
    assert (planned.plan.upsert, planned.space.points) == (done.build.upserted, done.build.points)
    dimension = project.spec.vector_space.dimension
    assert planned.space == space_of(done.build.points, dimension, indexes_on_disk=True)  # as the embedded store does by itself


@pytest.mark.deep
def test_forcing_builds_what_was_refused(index: Index) -> None:
    project = index.under(embedding=PROMPT)
    build(project)
    switch(project)
    roll_back(project, reason="users complain", by="test", progress=SILENT)
    done = build(project, force=True)
    assert (done.is_complete, done.build.embedded) == (True, 0)
    switch(project)


@pytest.mark.deep
def test_a_candidate_that_retention_dropped_is_built_again_under_a_new_number(index: Index) -> None:
    project = index.under(embedding=PROMPT)
    first = build(project).candidate
    assert first is not None
    index.under(embedding=BATCHES, release={"grace_hours": 0})
    retained = retain(index.project)
    assert retained.dropped == (first.name,)
    assert any(name.startswith("embeddings/") for name in retained.artifacts)
    again = build(index.under(embedding=PROMPT))
    assert again.candidate is not None
    assert (again.candidate.name, again.build.embedded) == (f"{first.name[:-1]}2", TOTAL)


# --- a model whose files changed under its name ---


@pytest.fixture(scope="module")
def made_with_a_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    model = folder / "model"
    shutil.copytree(packaged_facts().path, model, ignore=shutil.ignore_patterns("*.safetensors"))
    (model / "model.safetensors").write_bytes(b"old weights")
    return make(folder, embedding={"model": "model", **BATCHES})


@pytest.fixture
def changed(made_with_a_folder: Path, tmp_path: Path) -> Iterator[Index]:
    """An index whose model's weights were replaced."""
    folder = copy(made_with_a_folder, tmp_path / "index")
    (folder / "model" / "model.safetensors").write_bytes(b"other weights")
    index = Index(folder, embedding={"model": "model", **BATCHES})
    yield index
    index.project.close()


def test_changed_weights_are_seen_and_a_question_says_what_to_do(changed: Index) -> None:
    project = changed.project
    assert project.collections().change.vector_space == ("weights_sha256",)
    with pytest.raises(ModelChangedError, match="put the old files back, or run rag reindex"):
        project.searcher().search("topic3", limit=3)
    assert project.searcher().search("topic3", limit=3, mode="sparse")


def test_deletions_still_reach_a_collection_whose_model_is_gone(changed: Index) -> None:
    project = changed.project
    (changed.docs / "topic1.md").unlink()
    index_once(project)
    assert "docs/topic1.md" not in points(project, changed.first)
    assert project.store.resolve_alias("docs") == changed.first


def test_a_reindex_replaces_a_collection_whose_model_is_gone(changed: Index) -> None:
    project = changed.project
    (changed.docs / "topic1.md").unlink()
    fill(changed.docs, {"new.md": article("novelty")})
    bucket = next(record.bucket for record in project.ledger.documents().values() if record.path == "topic1.md")
    said: list[str] = []
    done = build(project, say=said.append)
    assert (done.build.chunked, done.is_complete) == (1, True)  # the tokenizer is the same
    assert any("have to wait" in problem for problem in done.problems)
    assert any("have to wait" in line for line in said)
    waiting = any(f"bucket {bucket} of" in problem for problem in done.problems)  # that of the new text, too
    assert waiting == ("docs/topic1.md" in points(project, changed.first))
    switch(project)
    assert check(project).findings == []
    assert "docs/new.md" in uris(dump(project).values())


def test_an_index_run_with_new_texts_says_what_to_do(changed: Index) -> None:
    project = changed.project
    fill(changed.docs, {"new.md": article("novelty")})
    (changed.docs / "topic1.md").unlink()
    with pytest.raises(RagPipelineError, match="run rag reindex"):
        index_once(project)
    assert project.store.resolve_alias("docs") == changed.first
    assert "docs/topic1.md" not in points(project, changed.first)  # a deletion needs no model


# --- real PDFs ---


@pytest.mark.parametrize("way", [pytest.param("in_place", marks=pytest.mark.deep), "candidate"])
def test_a_change_for_pdf_alone_touches_only_pdfs(tmp_path: Path, way: str) -> None:
    docs = {"fontconfig.pdf": "manuals/fontconfig-user.pdf", "timers.md": "node/timers.md", "heapq.py": "code/heapq.py"}
    file = write_settings(tmp_path)
    for name, example in docs.items():
        shutil.copy(EXAMPLES / example, tmp_path / "docs" / name)
    project = open_project(file)
    index_once(project)
    before, first = dump(project), project.target.name
    project.close()
    changes: dict[str, Any] = {"chunking": {"types": {"pdf": {"target": 0.3}}}, "release": {"strategy": {"chunking": way}}}
    project = open_project(write_settings(tmp_path, **changes))
    assert project.collections().change.chunking == (DocumentType.PDF,)
    report = build(project).build if way == "candidate" else index_once(project)[1]
    if way == "candidate":
        assert dump(project) == before
        switch(project)
    after = dump(project)
    assert (report.parsed, report.chunked) == (0, 1)
    assert report.embedded <= sum(value["type"] == "pdf" for value in after.values())
    assert (project.target.name == first) == (way == "in_place")
    assert not_pdf(after) == not_pdf(before)
    assert len(after) > len(before)
    assert check(project).findings == []
    project.close()


def not_pdf(payloads: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in payloads.items() if value["type"] != "pdf"}
