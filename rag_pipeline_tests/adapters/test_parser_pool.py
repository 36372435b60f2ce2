import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from rag_pipeline.adapters import child_processes
from rag_pipeline.adapters.child_processes import FORK_SERVER
from rag_pipeline.adapters.parser_pool import ProcessPoolParser
from rag_pipeline.adapters.parsing import versions
from rag_pipeline.adapters.parsing.child import parse_bytes
from rag_pipeline.errors import BackendUnavailableError, DocumentError, ParseLimitError
from rag_pipeline.ports import ParseOutcome, ParseRequest
from rag_pipeline.schema import DocumentType, ParsedDocument
from rag_pipeline.settings import ParsingSettings
from rag_pipeline_tests import documents
from rag_pipeline_tests.adapters import hostile_parsing


@contextmanager
def pool(parse: Callable[..., bytes] = hostile_parsing.obey, **settings: Any) -> Iterator[ProcessPoolParser]:
    parser = ProcessPoolParser(
        ParsingSettings(**{"workers": 2, "timeout_s": 30} | settings), function=f"{parse.__module__}:{parse.__name__}"
    )
    try:
        yield parser
    finally:
        parser.close()


def requests(*paths: str) -> list[ParseRequest]:
    return [ParseRequest(str(number), path, b"some words") for number, path in enumerate(paths)]


def reasons(outcomes: Iterator[ParseOutcome]) -> list[str]:
    return [outcome.result.reason if isinstance(outcome.result, DocumentError) else "parsed" for outcome in outcomes]


def children() -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if process.status() != psutil.STATUS_ZOMBIE and any("forkserver" in word for word in process.cmdline())
    ]


@pytest.mark.parametrize("kind", ["hang", "hang_in_c"])
def test_a_document_that_hangs_costs_its_time_and_no_other_document(kind: str) -> None:
    with pool(timeout_s=1) as parser:
        outcomes = list(parser.parse_all(requests("a.txt", kind, "b.txt", "c.txt")))
    assert reasons(iter(outcomes)) == ["parsed", "timeout", "parsed", "parsed"]
    assert isinstance(outcomes[1].result, ParseLimitError)
    assert outcomes[1].type is DocumentType.TEXT
    assert "some words" not in outcomes[1].result.detail


@pytest.mark.parametrize("kind", ["exit_later", "segfault", "exit"])
def test_a_document_that_kills_its_process_is_named_and_the_others_are_parsed(kind: str) -> None:
    with pool(timeout_s=3) as parser:
        found = reasons(parser.parse_all(requests("a.txt", "b.txt", kind, "c.txt", "d.txt", kind, "e.txt")))
    assert found == ["parsed", "parsed", "crash", "parsed", "parsed", "crash", "parsed"]


def test_nothing_but_killers_still_gives_an_outcome_for_each() -> None:
    with pool(timeout_s=2) as parser:
        found = reasons(parser.parse_all(requests(*["exit_later"] * 5, "a.txt")))
    assert found == ["crash"] * 5 + ["parsed"]


def test_a_document_that_takes_too_much_memory_is_refused() -> None:
    with pool(hostile_parsing.hoard, memory_mb=256) as parser:
        outcomes = list(parser.parse_all(requests("a.txt", "hoard", "b.txt")))
    assert reasons(iter(outcomes)) == ["parsed", "limit_memory", "parsed"]
    assert "parsing.memory_mb" in str(outcomes[1].result)


ORDERS = [
    ("hang", "timeout", {"timeout_s": 1}),
    ("hang_in_c", "timeout", {"timeout_s": 1}),
    ("burn", "timeout", {"cpu_s": 1}),
    ("exit", "crash", {}),
    ("segfault", "crash", {}),
    ("allocate", "limit_memory", {}),
    ("allocate_in_pieces", "limit_memory", {"memory_mb": 256}),
    ("talk", "limit_output", {}),
    ("note", "limit_output", {}),
    ("announce_too_much", "limit_output", {}),
    ("announce_and_stop", "timeout", {"timeout_s": 1}),
    ("write", "crash", {"max_output_mb": 4}),
    ("fork", "crash", {}),
]


@pytest.mark.parametrize(("order", "reason", "settings"), ORDERS, ids=[order for order, _, _ in ORDERS])
def test_an_ordered_evil_has_its_reason_alone_and_beside_good_documents(
    order: str, reason: str, settings: dict[str, Any]
) -> None:
    with pool(**settings) as parser:
        started = time.monotonic()
        (alone,) = parser.parse_all(requests(order))
        assert time.monotonic() - started < 10
        assert isinstance(alone.result, ParseLimitError)
        assert (alone.result.reason, alone.type) == (reason, DocumentType.TEXT)
        found = reasons(parser.parse_all(requests(*["a.txt"] * 10, order, *["b.txt"] * 10)))
    assert found == ["parsed"] * 10 + [reason] + ["parsed"] * 10
    assert not list(Path(tempfile.gettempdir()).glob("rag-parsing-*/endless"))


def test_an_answer_that_is_too_large_is_refused() -> None:
    with pool(hostile_parsing.answer_at_length, max_output_mb=1) as parser:
        outcomes = list(parser.parse_all(requests("a.txt", "long", "b.txt")))
    assert reasons(iter(outcomes)) == ["parsed", "limit_output", "parsed"]
    assert "parsing.max_output_mb" in str(outcomes[1].result)


def test_an_answer_for_a_later_document_is_not_taken() -> None:
    with pool(hostile_parsing.answer_more_than_asked, workers=1) as parser:
        outcomes = list(parser.parse_all(requests("two", "b.txt")))
    assert [outcome.result.elements[0].text for outcome in outcomes if isinstance(outcome.result, ParsedDocument)] == [
        "some words",
        "some words",
    ]


def test_a_document_that_fails_in_a_used_process_is_tried_once_more_in_a_fresh_one() -> None:
    with pool(hostile_parsing.crash_when_used, workers=1) as parser:
        assert reasons(parser.parse_all(requests(*["a.txt"] * 5))) == ["parsed"] * 5


def test_an_answer_is_never_unpickled(tmp_path: Path) -> None:
    with pool(hostile_parsing.answer_pickled) as parser:
        (outcome,) = parser.parse_all([ParseRequest("a", "a.txt", os.fsencode(tmp_path / "canary"))])
    assert reasons(iter([outcome])) == ["malformed"]
    assert not (tmp_path / "canary").exists()


def test_an_answer_that_is_none_is_refused() -> None:
    with pool(hostile_parsing.answer_nonsense) as parser:
        assert reasons(parser.parse_all(requests("a.txt"))) == ["malformed"]


def described(parser: ProcessPoolParser, count: int = 1) -> list[dict[str, Any]]:
    outcomes = parser.parse_all(requests(*["a.txt"] * count))
    return [json.loads(outcome.result.elements[0].text) for outcome in outcomes if isinstance(outcome.result, ParsedDocument)]


def test_children_have_no_secrets_no_telemetry_and_nothing_of_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    with pool(hostile_parsing.describe_process) as parser:
        (facts,) = described(parser)
    assert "QDRANT_API_KEY" not in facts["environment"]
    assert "HOME" not in facts["environment"]
    assert facts["environment"]["DO_NOT_TRACK"] == "1"
    assert facts["modules"] == []


def test_office_files_bring_unstructured_into_a_child_and_never_torch() -> None:
    with pool(hostile_parsing.describe_after_parsing, workers=1) as parser:
        (outcome,) = parser.parse_all([ParseRequest("a", "a.docx", documents.docx())])
    assert isinstance(outcome.result, ParsedDocument)
    assert {"unstructured", "spacy"} <= set(json.loads(outcome.result.elements[0].text)["modules"])
    assert "torch" not in json.loads(outcome.result.elements[0].text)["modules"]


def test_children_are_replaced_after_their_share_of_documents() -> None:
    with pool(hostile_parsing.describe_process, workers=1, documents_per_worker=3) as parser:
        pids = [facts["pid"] for facts in described(parser, 9)]
    assert len(set(pids)) == 3
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3]


def test_children_start_with_the_first_document_and_end_with_close() -> None:
    before = {process.pid for process in children()}
    with pool() as parser:
        parser.fingerprint(None)
        assert {process.pid for process in children()} <= before
        list(parser.parse_all(requests("a.txt")))
        during = {process.pid for process in children()} - before
        assert during
    server = {process.pid for process in psutil.Process().children() if process.pid in during | before}
    deadline = time.monotonic() + 5
    while {process.pid for process in children()} - server and time.monotonic() < deadline:
        time.sleep(0.05)
    assert {process.pid for process in children()} <= server


def test_a_reader_who_stops_early_leaves_nothing_running() -> None:
    with pool(timeout_s=20) as parser:
        outcomes = parser.parse_all(requests("a.txt", *["hang"] * 3))
        next(outcomes)
        outcomes.close()  # type: ignore[attr-defined]
        started = time.monotonic()
        assert reasons(parser.parse_all(requests("b.txt"))) == ["parsed"]
        assert time.monotonic() - started < 10


def test_a_pool_whose_server_cannot_start_blames_no_document(monkeypatch: pytest.MonkeyPatch) -> None:
    FORK_SERVER.close()
    monkeypatch.setattr(child_processes, "_command", lambda descriptor: [sys.executable, "-c", "raise SystemExit(3)"])
    with pool(timeout_s=2) as parser, pytest.raises(BackendUnavailableError, match="no process can be started"):
        list(parser.parse_all(requests("a.txt", "b.txt")))


def test_a_pool_whose_children_cannot_start_blames_no_document() -> None:
    parser = ProcessPoolParser(ParsingSettings(workers=2), function="rag_pipeline_tests.no_such_module:parse")
    with contextlib.closing(parser), pytest.raises(BackendUnavailableError, match="no process can be started"):
        list(parser.parse_all(requests("a.txt", "b.txt")))


def test_a_fork_of_the_program_starts_its_own_processes_and_leaves_the_others_alone() -> None:
    with pool() as parser:
        assert reasons(parser.parse_all(requests("a.txt"))) == ["parsed"]
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                with pool() as own:
                    code = int(reasons(own.parse_all(requests("a.txt", "b.txt"))) != ["parsed", "parsed"])
                FORK_SERVER.close()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert reasons(parser.parse_all(requests("a.txt", "exit", "b.txt"))) == ["parsed", "crash", "parsed"]


SCRIPT = """
import sys, time
from rag_pipeline.adapters.parser_pool import ProcessPoolParser
from rag_pipeline.ports import ParseRequest
from rag_pipeline.settings import ParsingSettings
print("imported", flush=True)
parser = ProcessPoolParser(ParsingSettings(workers=2, timeout_s=1), function="rag_pipeline_tests.adapters.hostile_parsing:obey")
for outcome in parser.parse_all([ParseRequest("a", "a.md", b"# hi"), ParseRequest("b", sys.argv[1], b"words")]):
    print(outcome.document_id, flush=True)
"""


def test_a_script_without_a_main_guard_works_and_ends_without_close(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), "b.txt"], capture_output=True, text=True, timeout=30, cwd=Path.cwd(), env=_path()
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["imported", "a", "b"], "")


def test_no_child_outlives_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    parent = subprocess.Popen([sys.executable, str(script), "hang"], stdout=subprocess.PIPE, text=True, env=_path())
    assert parent.stdout is not None
    assert [parent.stdout.readline().strip() for _ in range(2)] == ["imported", "a"]
    family = psutil.Process(parent.pid).children(recursive=True)
    assert len(family) >= 3
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert [process.cmdline() for process in alive] == []


def _path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def test_office_files_are_parsed_in_children_within_their_memory() -> None:
    files = {
        "a.docx": documents.docx(),
        "b.pptx": documents.pptx(),
        "c.xlsx": documents.xlsx(),
        "d.pdf": documents.pdf("Title\ntext"),
    }
    with pool(parse_bytes, memory_mb=256) as parser:
        outcomes = list(parser.parse_all(ParseRequest(name, name, data) for name, data in files.items()))
    assert [(outcome.document_id, outcome.type) for outcome in outcomes] == [
        ("a.docx", DocumentType.WORD),
        ("b.pptx", DocumentType.SLIDES),
        ("c.xlsx", DocumentType.TABLE),
        ("d.pdf", DocumentType.PDF),
    ]
    assert all(isinstance(outcome.result, ParsedDocument) for outcome in outcomes)


def test_a_version_changes_the_fingerprints_that_are_built_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {kind: versions.fingerprint(kind) for kind in DocumentType}
    monkeypatch.setitem(versions.PARSER_VERSIONS, DocumentType.HTML, 99)
    changed = {kind for kind in DocumentType if versions.fingerprint(kind) != before[kind]}
    assert changed == {DocumentType.HTML, DocumentType.MARKDOWN, DocumentType.EMAIL, DocumentType.WORD, DocumentType.SLIDES}
