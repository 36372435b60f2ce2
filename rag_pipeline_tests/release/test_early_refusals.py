"""What would refuse a candidate in the end is said before it is built, and a look that a crash cut off is made up for."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag_pipeline.cli.diagnosis import examine
from rag_pipeline.cli.frame import Frame
from rag_pipeline.errors import ReleaseBlockedError, SettingsError
from rag_pipeline.operations import release as releasing
from rag_pipeline.operations.gate import check_retired, find_verdict
from rag_pipeline.operations.plan import make_plan
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.operations.reindex import reindex
from rag_pipeline.operations.release import release
from rag_pipeline.project import Project
from rag_pipeline_tests.projects import index_once
from rag_pipeline_tests.release.flows import (
    ask_for_new_model,
    build_candidate,
    copy_of,
    live_name,
    make_live,
    make_pair,
    open_quick,
)

DOCUMENTS = 6


@pytest.fixture(scope="module")
def made_live(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_live(tmp_path_factory.mktemp("live"), documents=DOCUMENTS)


@pytest.fixture(scope="module")
def made_pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pair(tmp_path_factory.mktemp("pair"), documents=DOCUMENTS)


@pytest.fixture
def live(made_live: Path, tmp_path: Path) -> Path:
    return copy_of(made_live, tmp_path / "index").parent


@pytest.fixture
def pair(made_pair: Path, tmp_path: Path) -> Path:
    return copy_of(made_pair, tmp_path / "index").parent


@pytest.fixture
def opened() -> Iterator[list[Project]]:
    projects: list[Project] = []
    yield projects
    for project in projects:
        project.close()


def ask(folder: Path, opened: list[Project], **release_settings: object) -> Project:
    opened.append(open_quick(ask_for_new_model(folder, release=release_settings)))
    return opened[-1]


def questions(folder: Path, *relevant: str) -> str:
    lines = [json.dumps({"query": f"what is report {name}?", "relevant": [name]}) for name in relevant]
    (folder / "golden.jsonl").write_text("\n".join(lines))
    return "golden.jsonl"


def embedded(project: Project) -> int:
    return len(project.models.embedder(project.spec.vector_space).embedded)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("setting", "text", "said"),
    [
        ("golden_set", None, "cannot be read"),
        ("golden_set", "no json", "line 1: not a JSON object"),
        ("golden_set", '{"query": "what?", "relevant": ["other/nowhere.html"]}', "none of the 1 documents"),
        ("canaries", '{"query": "what?"}', "'relevant' must be a list"),
    ],
)
def test_files_of_questions_that_cannot_be_used_stop_a_reindex_before_its_work(
    live: Path, opened: list[Project], setting: str, text: str | None, said: str
) -> None:
    if text is not None:
        (live / "questions.jsonl").write_text(text)
    project = ask(live, opened, **{setting: "questions.jsonl"})
    with pytest.raises(SettingsError, match=said):
        reindex(project, project.buckets, progress=SILENT)
    assert embedded(project) == 0
    assert project.collections().refusal is None
    plan = make_plan(project)
    assert plan.release is not None
    assert said in str(plan.release.blocked)
    looked = {found.name: found for found in examine(Frame(config=str(live / "rag_pipeline.yaml"), is_json=True))}
    assert not looked["questions"].is_ok
    assert said in looked["questions"].detail


def test_a_golden_set_that_names_some_other_documents_says_so_and_judges(pair: Path, opened: list[Project]) -> None:
    names = [f"report{number}.md" for number in range(DOCUMENTS)]
    project = ask(pair, opened, golden_set=questions(pair, *names, "gone.md"), min_recall=0.0, max_drop=1.0)
    assert release(project, approve=False, by="test", progress=SILENT).is_switched
    verdict = find_verdict(project, live_name(project))
    assert verdict is not None
    retrieval = next(check for check in verdict.checks if check.name == "retrieval")
    assert "1 of the documents that its questions name are not indexed, such as gone.md" in retrieval.summary


def test_a_plan_says_that_a_reindex_would_not_start_for_want_of_space(live: Path, opened: list[Project]) -> None:
    project = ask(live, opened, min_free_gb=10_000_000)
    plan = make_plan(project)
    assert plan.release is not None
    assert "lower release.min_free_gb" in str(plan.release.blocked)
    with pytest.raises(ReleaseBlockedError, match=r"lower release\.min_free_gb"):
        reindex(project, project.buckets, progress=SILENT)


class Died(BaseException):
    """The process ends here."""


def die(*_: object) -> None:
    raise Died


def test_a_look_that_a_crash_cut_off_is_made_up_for_and_goes_back(
    pair: Path, opened: list[Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = ask(pair, opened)
    before = live_name(project)
    with monkeypatch.context() as patch:
        patch.setattr(releasing, "_look_after", die)
        with pytest.raises(Died):
            release(project, approve=False, by="test", progress=SILENT)
    candidate = live_name(project)
    assert candidate != before
    with monkeypatch.context() as patch:
        patch.setattr(releasing, "_look_after", lambda *_: "canaries: 0 of 1 found")
        with pytest.raises(ReleaseBlockedError, match=f"{before} is live again: canaries"):
            index_once(project)
    assert live_name(project) == before
    index_once(project)
    assert live_name(project) == before


def test_a_look_that_a_crash_cut_off_finds_a_good_index_good(
    pair: Path, opened: list[Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = ask(pair, opened)
    with monkeypatch.context() as patch:
        patch.setattr(releasing, "_look_after", die)
        with pytest.raises(Died):
            release(project, approve=False, by="test", progress=SILENT)
    switched = live_name(project)
    looks: list[str] = []
    look = releasing._look_after
    monkeypatch.setattr(releasing, "_look_after", lambda *args: looks.append(args[1].name) or look(*args))
    index_once(project)
    index_once(project)
    assert (live_name(project), looks) == (switched, [switched])


def test_damage_of_the_way_back_is_told(live: Path, opened: list[Project]) -> None:
    project = ask(live, opened)
    former = live_name(project)
    build_candidate(project)
    release(project, approve=False, by="test", progress=SILENT)
    retired = project.collections().retired
    assert check_retired(project, retired, SILENT) == []
    lost = next(iter(project.store.scroll(former))).id
    project.store.delete(former, [lost])
    (line,) = check_retired(project, retired, SILENT)
    assert line.startswith(f"{former}, which is kept for a rollback, has findings: 1 ")
