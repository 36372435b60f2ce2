"""Slices of buckets through the four stages: nothing waits for a whole bucket, and nothing is less safe for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rag_pipeline.cli.tables import describe_lanes
from rag_pipeline.errors import BackendUnavailableError
from rag_pipeline.indexing.build import STAGES, BuildReport, merge_reports
from rag_pipeline.indexing.lanes import LaneTimes
from rag_pipeline.indexing.reports import lane_values
from rag_pipeline.operations.follow import bring_in_step
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.ports import Batching
from rag_pipeline.project import Project
from rag_pipeline.schema import Matrix
from rag_pipeline_tests.fakes.embedder import HashEmbedder, QueuedHashEmbedder
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.projects import article, check, dump, fill, fresh_dump, index_once, open_project, write_settings

DOCUMENTS = 60
DIMENSION = 384


class WatchingEmbedder(HashEmbedder):
    """Notes how many documents were parsed when each batch came, and may fail at one of them."""

    def __init__(self, parser: FakeParser, *, fails_at: int | None = None) -> None:
        super().__init__(DIMENSION)
        self.parser = parser
        self.parsed_at: list[int] = []
        self.batches: list[int] = []
        self.fails_at = fails_at

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        self.parsed_at.append(len(self.parser.parsed))
        self.batches.append(len(texts))
        if self.fails_at is not None and len(self.batches) > self.fails_at:
            raise BackendUnavailableError("the model is away", system="embedder")
        return super().embed_documents(texts)


def prepare(folder: Path, *, buckets: int = 1, **changes: Any) -> tuple[Path, FakeParser]:
    file = write_settings(folder, buckets=buckets, embedding={"batch_tokens": 512}, **changes)
    fill(folder / "docs", {f"topic{i}.md": article(f"topic{i}") for i in range(DOCUMENTS)})
    return file, FakeParser()


def opened(file: Path, parser: FakeParser, embedder: HashEmbedder) -> Project:
    return open_project(file, parser=parser, embedder=embedder)


def test_embedding_begins_before_a_bucket_is_parsed(tmp_path: Path) -> None:
    file, parser = prepare(tmp_path)
    embedder = WatchingEmbedder(parser)
    project = opened(file, parser, embedder)
    index_once(project)
    assert embedder.parsed_at[0] < DOCUMENTS / 2
    assert len(parser.parsed) == DOCUMENTS
    assert check(project).findings == []
    project.close()


def test_points_of_an_empty_bucket_are_written_before_it_is_parsed(tmp_path: Path) -> None:
    file, parser = prepare(tmp_path)
    project = opened(file, parser, WatchingEmbedder(parser))
    parsed_at: list[int] = []
    upsert = project.store.upsert

    def watched(name: str, points: Any) -> None:
        parsed_at.append(len(parser.parsed))
        upsert(name, points)

    project.store.upsert = watched  # type: ignore[method-assign]
    index_once(project)
    assert parsed_at[0] < DOCUMENTS
    project.close()


def test_batches_are_filled_across_buckets(tmp_path: Path) -> None:
    counts = []
    for buckets in (1, 32):
        file, parser = prepare(tmp_path / str(buckets), buckets=buckets)
        embedder = WatchingEmbedder(parser)
        project = opened(file, parser, embedder)
        index_once(project)
        project.close()
        counts.append(len([batch for batch in embedder.batches if batch > 1]))
    assert counts[1] <= counts[0] + 2


def test_a_pool_holds_enough_for_all_that_a_device_has_under_way(tmp_path: Path) -> None:
    """Else the device would wait for the last batch of each pool."""
    file, parser = prepare(tmp_path)
    embedder = QueuedHashEmbedder(DIMENSION, wants=Batching(400, at_once=6))
    project = opened(file, parser, embedder)
    index_once(project)
    assert embedder.most == 6
    assert check(project).findings == []
    project.close()


def test_equal_texts_of_two_buckets_in_one_pool_are_embedded_once(tmp_path: Path) -> None:
    file = write_settings(tmp_path, buckets=8)
    fill(tmp_path / "docs", {f"copy{i}.md": article("one and the same") for i in range(DOCUMENTS)})
    parser = FakeParser()
    embedder = WatchingEmbedder(parser)
    project = opened(file, parser, embedder)
    _, report = index_once(project)
    texts = [text for text in embedder.embedded if text]
    assert report.embedded == len(set(texts))
    assert report.copied == 7 * report.embedded
    assert check(project).findings == []
    project.close()


def test_a_bucket_with_points_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file, parser = prepare(tmp_path)
    project = opened(file, parser, WatchingEmbedder(parser))
    index_once(project)
    before = dump(project)
    project.close()
    fill(tmp_path / "docs", {f"topic{i}.md": article(f"edited topic{i}", 5) for i in range(DOCUMENTS)})
    project = opened(file, parser, WatchingEmbedder(parser, fails_at=20))
    with pytest.raises(BackendUnavailableError):
        index_once(project)
    assert dump(project) == before
    project.close()
    project = opened(file, parser, WatchingEmbedder(parser))
    index_once(project)
    assert check(project).findings == []
    assert dump(project) == fresh_dump(project, tmp_path / "fresh", parser=FakeParser())
    project.close()


def test_a_first_build_that_fails_in_a_bucket_goes_on_there(tmp_path: Path) -> None:
    file, parser = prepare(tmp_path)
    failing = WatchingEmbedder(parser, fails_at=5)
    project = opened(file, parser, failing)
    with pytest.raises(BackendUnavailableError):
        index_once(project)
    assert project.ledger.bucket_states(project.target.name) == {}
    project.close()
    embedder = WatchingEmbedder(parser)
    project = opened(file, parser, embedder)
    index_once(project)
    assert len(set(embedder.embedded) & set(failing.embedded)) <= max(failing.batches)
    assert check(project).findings == []
    project.close()


def test_told_to_stop_it_leaves_buckets_and_a_later_run_ends_equal(tmp_path: Path) -> None:
    file, parser = prepare(tmp_path, buckets=2)
    project = opened(file, parser, WatchingEmbedder(parser))
    project.scan(approve_deletes=False, progress=SILENT)
    bring_in_step(project, [], progress=SILENT)
    runs = 0
    while project.target_parts().build().stale_buckets(project.buckets):
        report = project.target_parts().build().run(project.buckets, progress=SILENT, should_stop=lambda: True)
        assert report.is_complete == (not project.target_parts().build().stale_buckets(project.buckets))
        runs += 1
        assert runs < 2 * DOCUMENTS
    assert runs > 2
    index_once(project)
    assert check(project).findings == []
    project.close()


def test_the_report_says_where_the_time_went(tmp_path: Path) -> None:
    file, parser = prepare(tmp_path)
    project = opened(file, parser, WatchingEmbedder(parser))
    _, report = index_once(project)
    for times in report.lanes.values():
        assert times.wall_s == pytest.approx(report.wall_s, abs=1e-6)
    values = lane_values(report)
    assert set(values["stages"]) == set(STAGES)
    busy = {stage: times["busy_s"] for stage, times in values["stages"].items()}
    assert values["bottleneck"] == max(busy, key=busy.__getitem__)
    _, again = index_once(project)
    assert lane_values(again)["bottleneck"] is None
    project.close()


def test_times_of_slices_of_one_reindex_add_up() -> None:
    first, second = BuildReport(touched=["00"]), BuildReport(touched=["01"])
    first.lanes["chunks"], second.lanes["chunks"] = LaneTimes(1, 2, 3), LaneTimes(1, 1, 1)
    merged = merge_reports(first, second)
    assert merged.lanes["chunks"] == LaneTimes(2, 3, 4)
    assert merged.bottleneck == "chunks"


def test_people_read_the_busiest_stage_first() -> None:
    report = BuildReport(touched=["00"])
    report.lanes = {stage: LaneTimes(busy_s, 10 - busy_s, 0) for stage, busy_s in zip(STAGES, (1, 2, 9.5, 0.5), strict=True)}
    assert describe_lanes(lane_values(report)) == "busiest: embeddings, 95% of 10.0 s; documents 10%, chunks 20%, collection 5%"
