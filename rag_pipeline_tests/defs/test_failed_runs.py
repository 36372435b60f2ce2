"""A failed run is told to a real webhook on loopback, with its cause."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import pytest
from pydantic import SecretStr

from rag_pipeline.defs.inventory import make_definitions
from rag_pipeline.project import Project
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.projects import article, fill, open_project, write_settings

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Listener(BaseHTTPRequestHandler):
    messages: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.messages.append(json.loads(body)["text"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def messages() -> list[str]:
    return []


@pytest.fixture
def url(messages: list[str]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Listener,), {"messages": messages}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook"
    server.shutdown()
    server.server_close()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


def opened(folder: Path, url: str, **settings: object) -> Project:
    project = open_project(write_settings(folder, **settings), parser=FakeParser())
    project.settings._secrets["RAG_WEBHOOK_URL"] = SecretStr(url)
    return project


def run(project: Project, instance: dg.DagsterInstance, job: str) -> dg.ExecuteInProcessResult:
    definition = make_definitions(project).resolve_job_def(job)
    return definition.execute_in_process(instance=instance, raise_on_error=False, run_config=QUIET)


def tell(project: Project, instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> None:
    """What the daemon does when it sees the failure."""
    sensor = make_definitions(project).resolve_sensor_def("failed_runs")
    context = dg.build_run_status_sensor_context(
        "failed_runs",
        dagster_event=result.get_run_failure_event(),
        dagster_instance=instance,
        dagster_run=result.dagster_run,
    ).for_run_failure()
    sensor(context)


def test_a_source_that_is_gone_is_named(tmp_path: Path, url: str, messages: list[str], instance: dg.DagsterInstance) -> None:
    project = opened(tmp_path, url)
    fill(tmp_path / "docs", {"one.md": article("one")})
    assert run(project, instance, "index").success
    shutil.rmtree(tmp_path / "docs")
    result = run(project, instance, "index")
    tell(project, instance, result)
    (message,) = messages
    assert message.startswith(f"rag-pipeline: run {result.run_id} of job index failed: ")
    assert "handbook" in message
    assert "\n" not in message
    project.close()


def test_a_refused_candidate_is_told_with_what_was_measured(
    tmp_path: Path, url: str, messages: list[str], instance: dg.DagsterInstance
) -> None:
    fill(tmp_path / "docs", {f"{topic}.md": article(topic) for topic in ("apple", "pear", "plum")})
    before = opened(tmp_path, url)
    assert run(before, instance, "index").success
    before.close()
    (tmp_path / "canaries.jsonl").write_text(json.dumps({"query": "what is it?", "relevant": ["docs/nowhere.md"]}) + "\n")
    project = opened(tmp_path, url, embedding={"document_prompt": "passage: "}, release={"canaries": "canaries.jsonl"})
    result = run(project, instance, "reindex")
    assert not result.success
    tell(project, instance, result)
    (message,) = messages
    assert "was refused, the live collection stays. canaries: " in message
    project.close()
