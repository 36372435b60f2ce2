"""Ticks of the sensors that start a reindex and a release: what they ask for, and why they do not."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from rag_pipeline.defs.inventory import make_definitions
from rag_pipeline.defs.jobs import COLLECTION_TAG
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.operations.reindex import pause_reindex, reindex
from rag_pipeline.operations.release import release, roll_back, validate
from rag_pipeline.project import Project
from rag_pipeline_tests.indexes import BATCHES, PROMPT, Index, copy, make
from rag_pipeline_tests.projects import write_settings

WANTED: dict[str, Any] = {"embedding": PROMPT}
CHANGES, CANDIDATE = "index_spec_changes", "release_candidate"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("made"), embedding=BATCHES)


@pytest.fixture
def index(made: Path, tmp_path: Path) -> Iterator[Index]:
    index = Index(copy(made, tmp_path / "index"), embedding=BATCHES)
    yield index
    index.project.close()


@pytest.fixture(scope="module")
def shared_instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


@pytest.fixture
def instance(shared_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """Without runs of other tests."""
    shared_instance.wipe()
    return shared_instance


class Server:
    """A code server: its definitions were loaded once, its sensors look at what stands in the settings file now."""

    def __init__(self, index: Index, instance: dg.DagsterInstance) -> None:
        self.index, self.instance = index, instance
        project = index.project
        project.reloaded = index.reopened  # type: ignore[method-assign]
        self.definitions = make_definitions(project)
        self.cursors: dict[str, str | None] = {}

    def tick(self, name: str) -> tuple[list[str], str]:
        """The jobs asked for, and the reason when none was."""
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursors.get(name), definitions=self.definitions)
        data = self.definitions.resolve_sensor_def(name).evaluate_tick(context)
        self.cursors[name] = data.cursor or self.cursors.get(name)
        self.requests = data.run_requests or []
        return [str(request.job_name) for request in self.requests], data.skip_message or ""

    def settings(self, **values: Any) -> None:
        """Edits the settings file while the server lives on."""
        write_settings(self.index.folder, **values)

    def start(self, job: str, status: dg.DagsterRunStatus) -> None:
        """A run of the job in this state, asked for by the last tick."""
        run = self.instance.create_run_for_job(
            self.definitions.resolve_job_def(job), tags=dict(self.requests[0].tags), status=status
        )
        assert run.tags[COLLECTION_TAG]


@pytest.fixture
def server(index: Index, instance: dg.DagsterInstance) -> Server:
    return Server(index, instance)


def build(server: Server, **options: Any) -> Project:
    project = server.index.reopened()
    reindex(project, options.pop("buckets", project.buckets), progress=SILENT, **options)
    return project


# --- index_spec_changes ---


def test_unchanged_settings_start_nothing(server: Server) -> None:
    assert server.tick(CHANGES) == ([], "the live collection is what the settings ask for")
    assert server.tick(CANDIDATE) == ([], "no candidate is wanted")


def test_before_the_first_release_there_is_nothing_to_change(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    server = Server(Index(tmp_path), instance)
    assert server.tick(CHANGES) == ([], "nothing is live yet; the index job makes the first collection")
    assert server.tick(CANDIDATE)[0] == []


def test_an_edit_of_the_settings_file_is_seen_by_a_server_that_lives_on(server: Server) -> None:
    server.settings(**WANTED)
    assert server.tick(CHANGES)[0] == ["reindex"]
    request = server.requests[0]
    assert request.tags[COLLECTION_TAG] == "docs:candidate"
    assert "document_prompt changed" in request.tags["rag_pipeline/reason"]


def test_settings_are_read_again_from_their_file(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    file = index.folder / "rag_pipeline.yaml"
    project = Project.load(file)
    write_settings(index.folder, **WANTED)
    now = project.reloaded()
    assert now.settings.embedding.document_prompt == "passage: "
    assert project.settings.embedding.document_prompt == ""
    monkeypatch.setenv("RAG_CONFIG", str(file))
    project = Project.load()
    write_settings(index.folder, embedding=BATCHES)
    assert project.reloaded().settings.embedding.document_prompt == ""


def test_a_change_in_place_starts_an_index_run(server: Server) -> None:
    server.settings(embedding=BATCHES, chunking={"types": {"markdown": {"heading_context": False}}})
    assert server.tick(CHANGES)[0] == ["index"]
    assert server.requests[0].tags[COLLECTION_TAG] == "docs"
    server.settings(
        embedding=BATCHES,
        chunking={"types": {"markdown": {"heading_context": False}}},
        release={"strategy": {"chunking": "candidate"}},
    )
    assert server.tick(CHANGES)[0] == ["reindex"]


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
def test_a_run_that_is_on_its_way_is_not_asked_for_again(server: Server, status: dg.DagsterRunStatus) -> None:
    server.settings(**WANTED)
    server.tick(CHANGES)
    server.start("reindex", status)
    assert server.tick(CHANGES) == ([], "a run of reindex is queued or running")


def test_a_tick_that_repeats_backs_off_after_a_run_that_did_not_help(server: Server) -> None:
    server.settings(**WANTED)
    assert server.tick(CHANGES)[0] == ["reindex"]
    server.start("reindex", dg.DagsterRunStatus.FAILURE)
    jobs, reason = server.tick(CHANGES)
    assert jobs == []
    assert "did not help; trying again 60 s after it" in reason
    memory = json.loads(server.cursors[CHANGES] or "{}")
    server.cursors[CHANGES] = json.dumps({**memory, "requested_s": memory["requested_s"] - 61})
    assert server.tick(CHANGES)[0] == ["reindex"]
    assert "trying again 300 s" in server.tick(CHANGES)[1]


def test_a_lost_cursor_asks_again_and_another_wish_waits_for_nothing(server: Server) -> None:
    server.settings(**WANTED)
    server.tick(CHANGES)
    server.cursors.clear()
    assert server.tick(CHANGES)[0] == ["reindex"]
    server.settings(embedding={**BATCHES, "dimension": 128})
    assert server.tick(CHANGES)[0] == ["reindex"]


def test_a_paused_reindex_is_left_alone(server: Server) -> None:
    server.settings(**WANTED)
    pause_reindex(server.index.project, is_paused=True)
    assert server.tick(CHANGES) == ([], "the reindex is paused; rag reindex goes on")


def test_what_was_rolled_back_is_not_built_again(server: Server) -> None:
    server.settings(**WANTED)
    project = build(server)
    release(project, approve=False, by="test", progress=SILENT)
    assert server.tick(CHANGES)[1] == "the live collection is what the settings ask for"
    roll_back(project, reason="users complain", by="test", progress=SILENT)
    project.close()
    jobs, reason = server.tick(CHANGES)
    assert jobs == []
    assert reason == "these settings were refused: users complain; change them, or run rag reindex --force"
    assert "was refused: users complain" in server.tick(CANDIDATE)[1]


def test_broken_settings_are_no_crash(server: Server) -> None:
    server.index.project.reloaded = Project.load(server.index.folder / "rag_pipeline.yaml").reloaded  # type: ignore[method-assign]
    (server.index.folder / "rag_pipeline.yaml").write_text("sources: [")
    for name in (CHANGES, CANDIDATE):
        jobs, reason = server.tick(name)
        assert jobs == []
        assert "could not look" in reason
        assert "not valid YAML" in reason


# --- release_candidate ---


def test_a_candidate_in_parts_is_released_once_every_bucket_is_built(server: Server) -> None:
    server.settings(**WANTED)
    build(server, buckets=["00", "01"]).close()
    assert server.tick(CANDIDATE)[1].endswith("is building; not built yet")
    assert server.tick(CHANGES)[0] == ["reindex"]
    build(server, buckets=["02", "03"]).close()
    assert server.tick(CANDIDATE)[0] == ["release"]
    assert server.requests[0].tags[COLLECTION_TAG] == "docs:candidate"
    assert server.tick(CHANGES)[1].endswith("is built; release_candidate takes it from here")


def test_a_reindex_on_its_way_releases_by_itself(server: Server) -> None:
    server.settings(**WANTED)
    server.tick(CHANGES)
    server.start("reindex", dg.DagsterRunStatus.STARTED)
    build(server).close()
    assert server.tick(CANDIDATE) == ([], "a reindex is on its way, and ends with the release itself")


def test_a_release_that_is_on_its_way_is_not_asked_for_again(server: Server) -> None:
    server.settings(**WANTED)
    build(server).close()
    assert server.tick(CANDIDATE)[0] == ["release"]
    server.start("release", dg.DagsterRunStatus.STARTING)
    assert server.tick(CANDIDATE) == ([], "a run of release is queued or running")


def test_a_validated_candidate_waits_for_approval_and_is_judged_first(server: Server) -> None:
    server.settings(**WANTED, release={"mode": "approval"})
    project = build(server)
    assert server.tick(CANDIDATE)[0] == ["release"]
    validate(project, progress=SILENT)
    project.close()
    assert server.tick(CANDIDATE)[1].endswith("passed the gate and waits for rag release --approve")
    server.settings(**WANTED)
    server.cursors.clear()
    assert server.tick(CANDIDATE)[0] == ["release"]


# --- in ranges ---

RANGES: dict[str, Any] = {**WANTED, "buckets_per_run": 2}


def ranges(server: Server) -> list[tuple[str, str]]:
    """First and last bucket of each run that the last tick asked for."""
    ends = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
    return [(request.tags[ends[0]], request.tags[ends[1]]) for request in server.requests]


def test_a_candidate_is_asked_for_in_ranges_each_a_run_of_the_candidate_alone(server: Server) -> None:
    server.settings(**RANGES)
    assert server.tick(CHANGES)[0] == ["reindex", "reindex"]
    assert ranges(server) == [("00", "01"), ("02", "03")]
    assert [request.tags[COLLECTION_TAG] for request in server.requests] == ["docs:candidate:00..01", "docs:candidate:02..03"]
    assert all(request.asset_selection == [dg.AssetKey("candidate_collection")] for request in server.requests)
    assert all(request.asset_check_keys == [] for request in server.requests)


def test_while_one_range_runs_none_is_asked_for(server: Server) -> None:
    server.settings(**RANGES)
    server.tick(CHANGES)
    server.start("reindex", dg.DagsterRunStatus.STARTED)
    assert server.tick(CHANGES) == ([], "a run of reindex is queued or running")
    assert server.tick(CANDIDATE)[0] == []


def test_only_ranges_that_are_not_built_are_asked_for_again(server: Server) -> None:
    server.settings(**RANGES)
    build(server, buckets=["00", "01"]).close()
    assert server.tick(CHANGES)[0] == ["reindex"]
    assert ranges(server) == [("02", "03")]


def test_when_the_last_range_is_built_the_release_follows(server: Server) -> None:
    server.settings(**RANGES)
    for buckets in (["00", "01"], ["02", "03"]):
        build(server, buckets=buckets).close()
    assert server.tick(CHANGES)[0] == []
    assert server.tick(CANDIDATE)[0] == ["release"]


@pytest.mark.parametrize("per_run", [None, 2])
def test_a_backfill_takes_so_many_buckets_a_run(tmp_path: Path, per_run: int | None) -> None:
    definitions = make_definitions(Index(tmp_path, buckets_per_run=per_run).project)
    graph = definitions.resolve_asset_graph()
    for name in ("documents", "collection", "candidate_collection"):
        policy = graph.get(dg.AssetKey(name)).backfill_policy
        assert policy is not None
        assert policy.max_partitions_per_run == per_run
