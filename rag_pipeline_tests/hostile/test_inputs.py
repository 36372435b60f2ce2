import json
import os
import socket
import time
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rag_pipeline.adapters.parser_pool import ProcessPoolParser
from rag_pipeline.errors import DocumentError
from rag_pipeline.ports import ParseRequest
from rag_pipeline.project import Project
from rag_pipeline.schema import Flag, ParsedDocument
from rag_pipeline.settings import ParsingSettings
from rag_pipeline_tests.hostile.case import CANARY_WORDS, INDEXED, QUARANTINED, Case
from rag_pipeline_tests.hostile.inputs import CASES
from rag_pipeline_tests.hostile.inputs_text import PERSONAL_PIECES
from rag_pipeline_tests.hostile.watch import watched
from rag_pipeline_tests.projects import article, check, fill, index_once, open_project, write_settings

LONGEST_S = 60
GOOD = 200
_QUICK = [case for case in CASES if not case.is_slow]
_SLOW = [case for case in CASES if case.is_slow]


@pytest.fixture(scope="module")
def parser() -> Iterator[ProcessPoolParser]:
    pool = ProcessPoolParser(ParsingSettings(workers=1))
    yield pool
    pool.close()


def judge(case: Case, parser: ProcessPoolParser) -> None:
    """Parses the input in a child with the default limits: 60 s and 1 GiB."""
    started = time.monotonic()
    (outcome,) = parser.parse_all([ParseRequest(case.name, case.path, case.build())])
    assert time.monotonic() - started < LONGEST_S
    result = outcome.result
    if isinstance(result, DocumentError):
        assert (QUARANTINED, result.reason) == (case.state, case.reason)
        assert CANARY_WORDS not in result.detail
    else:
        assert case.state == INDEXED
        assert set(case.flags) - {Flag.INJECTION} <= set(result.flags)  # that one is a chunk's
        holds(case, said(result))


def said(document: ParsedDocument) -> str:
    return " ".join([document.title, *(element.text for element in document.elements), json.dumps(dict(document.metadata))])


def holds(case: Case, text: str) -> None:
    assert " ".join(case.holds.split()) in " ".join(text.split())
    assert not case.lacks or case.lacks not in text
    assert CANARY_WORDS not in text


@pytest.mark.parametrize("case", _QUICK, ids=lambda case: case.name)
def test_a_bad_input_alone_has_its_outcome(case: Case, parser: ProcessPoolParser, tmp_path: Path) -> None:
    with watched(tmp_path):
        judge(case, parser)


@pytest.mark.deep
@pytest.mark.parametrize("case", _SLOW, ids=lambda case: case.name)
def test_a_bad_input_that_takes_seconds_has_its_outcome(case: Case, parser: ProcessPoolParser, tmp_path: Path) -> None:
    with watched(tmp_path):
        judge(case, parser)


def test_every_input_is_built_the_same_each_time() -> None:
    """But for the encrypted ones, whose keys are drawn anew as the format asks, and files stamped with the time."""
    varying = {case.path for case in _QUICK if case.build() != case.build()}
    assert {path for path in varying if not path.endswith((".docx", ".xlsx", ".pptx"))} <= {
        "user-password.pdf",
        "owner-password.pdf",
        "attachment.pdf",
    }


def test_the_watch_tells_of_a_connection_and_of_a_file_outside(tmp_path: Path) -> None:
    own = ("127.83.12.8", 20_000 + os.getpid() % 20_000)  # not the inputs' own, where tests beside this one listen
    with pytest.raises(AssertionError), watched(tmp_path, own), socket.create_connection(own):
        pass
    with pytest.raises(AssertionError), watched(tmp_path, own):
        (tmp_path / "unexpected").touch()


def good_documents() -> dict[str, str]:
    texts = {f"good/{number:03}.{suffix}": article(f"topic{number}") for number, suffix in enumerate(["md", "txt"] * (GOOD // 2))}
    assert len(texts) == GOOD
    return texts


def mixed_project(folder: Path, cases: Sequence[Case]) -> Project:
    fill(folder / "docs", good_documents())
    (folder / "docs" / "bad").mkdir()
    for case in cases:
        (folder / "docs" / "bad" / case.name).write_bytes(case.build())
    return open_project(write_settings(folder, parsing={"workers": 2}, pii={"enabled": True}))


GROUPS = [(case,) for case in CASES] if os.environ.get("RAG_EACH") else [CASES]
"""All at once, in a tenth of the time; RAG_EACH=1 gives each input two hundred good documents of its own."""


@pytest.mark.deep
@pytest.mark.parametrize("cases", GROUPS, ids=lambda cases: cases[0].name if len(cases) == 1 else "all")
def test_bad_inputs_among_two_hundred_good_documents(cases: Sequence[Case], tmp_path: Path) -> None:
    project = mixed_project(tmp_path, cases)
    try:
        with watched(tmp_path):
            index_once(project)
            first = outcomes(project)
            _, again = index_once(project)
        assert (again.parsed, outcomes(project)) == (0, first)
        assert check(project).findings == []
        payloads = [point.payload for point in project.store.scroll(project.target.name)]
        good = {Path(path).name for path in good_documents()}
        assert {Path(str(payload["uri"])).name for payload in payloads if "/good/" in str(payload["uri"])} == good
        assert first == {case.name: case.reason or INDEXED for case in cases} | dict.fromkeys(good, INDEXED)
        judge_stored(payloads, cases)
    finally:
        project.close()


def outcomes(project: Project) -> dict[str, str]:
    """Reason of the quarantine, or indexed, by file name; every document that was seen is there once."""
    found = {Path(entry.path).name: entry.reason for entry in project.ledger.quarantine()}
    records = {Path(record.path).name for record in project.ledger.documents().values()}
    stored = {Path(str(point.payload["uri"])).name for point in project.store.scroll(project.target.name)}
    assert not found.keys() & stored
    assert found.keys() | stored == records
    return found | dict.fromkeys(stored, INDEXED)


def judge_stored(payloads: list[Any], cases: Sequence[Case]) -> None:
    for case in cases:
        if case.state == INDEXED:
            held = [payload for payload in payloads if Path(str(payload["uri"])).name == case.name]
            flags = {flag for payload in held for flag in payload["flags"]}
            assert set(case.flags) <= flags, case.name
            holds(case, " ".join(str(payload["text"]) for payload in held))
    everything = unicodedata.normalize("NFKC", json.dumps(payloads, default=str, ensure_ascii=False))
    for piece in PERSONAL_PIECES:
        assert unicodedata.normalize("NFKC", piece).replace("\u200b", "") not in everything.replace("\u200b", "")
