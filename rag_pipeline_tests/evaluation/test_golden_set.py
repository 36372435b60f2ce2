"""Questions from files and from headings."""

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_pipeline.errors import SettingsError
from rag_pipeline.evaluation import golden_set
from rag_pipeline.evaluation.golden_set import HEADINGS_PER_QUESTION, Question, known_items, load_questions

REAL = {
    "query": "Keys of my dict come back as text after JSON; can I avoid that?",
    "corpus": "python",
    "relevant": ["library/json.html", "tutorial/inputoutput.html"],
    "quote": "all the keys of the dictionary are coerced to strings",
    "source": "https://example.org/issues/1",
    "linked": True,
    "cites": "url",
}
"""A line as people write them, with keys of their own."""


def write(folder: Path, *lines: Any) -> Path:
    file = folder / "golden.jsonl"
    file.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    return file


# --- files ----------------------------------------------------------------------------------------------------------


def test_questions_come_in_order_and_keep_only_what_is_known(tmp_path: Path) -> None:
    file = write(tmp_path, REAL, b"", {"query": " \ud55c\uad6d\uc5b4? ", "relevant": ["a.md", "a.md"], "quote": None})
    assert load_questions(file) == [
        Question(REAL["query"], ("library/json.html", "tutorial/inputoutput.html"), REAL["quote"]),
        Question("\ud55c\uad6d\uc5b4?", ("a.md",)),
    ]


def test_line_separators_of_unicode_and_a_byte_order_mark_break_no_line(tmp_path: Path) -> None:
    line = json.dumps({"query": "one\u2028two", "relevant": ["a"]}, ensure_ascii=False).encode()
    assert load_questions(write(tmp_path, b"\xef\xbb\xbf" + line + b"\r")) == [Question("one\u2028two", ("a",))]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{", "not a JSON object"),
        (b'{"query": "\xff"}', "not a JSON object in UTF-8"),
        (b"[" * 100_000, "not a JSON object"),
        ([1], "not a JSON object"),
        ({"relevant": ["a"]}, "'query'"),
        ({"query": " ", "relevant": ["a"]}, "'query'"),
        ({"query": "half \ud83d", "relevant": ["a"]}, "'query'"),
        ({"query": "q"}, "'relevant'"),
        ({"query": "q", "relevant": []}, "'relevant'"),
        ({"query": "q", "relevant": "a.md"}, "'relevant'"),
        ({"query": "q", "relevant": ["a", 3]}, "'relevant'"),
        ({"query": "q", "relevant": ["a"], "quote": " "}, "'quote'"),
        ({"query": "q", "relevant": ["a"], "quote": ["b"]}, "'quote'"),
    ],
)
def test_bad_line_is_named_with_its_file(tmp_path: Path, line: Any, problem: str) -> None:
    file = write(tmp_path, REAL, b"", line)
    with pytest.raises(SettingsError, match=rf"golden\.jsonl, line 3: .*{problem}"):
        load_questions(file)


def test_missing_and_empty_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.jsonl cannot be read: No such file"):
        load_questions(tmp_path / "nowhere.jsonl")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_questions(tmp_path)
    with pytest.raises(SettingsError, match="holds no question"):
        load_questions(write(tmp_path, b" ", b""))


# --- what is relevant -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "is_meant"),
    [
        ("s3://docs/html/library/json.html", True),
        ("html/library/json.html", True),
        ("library/json.html", True),
        ("json.html", True),
        ("/library/json.html", True),
        ("brary/json.html", False),
        ("library/json", False),
        ("library", False),
    ],
)
def test_document_is_meant_by_its_whole_name_or_its_end_after_a_slash(name: str, is_meant: bool) -> None:
    payload = {"uri": "s3://docs/html/library/json.html", "path": "html/library/json.html"}
    assert Question("q", (name, "other")).names_of(payload) == ([name] if is_meant else [])


def test_payload_without_a_place_is_nobodys_answer() -> None:
    assert Question("q", ("a",)).names_of({"text": "a", "uri": None}) == []


def test_quote_is_found_however_lines_are_broken() -> None:
    question = Question("q", ("a",), "the keys\n of  the dictionary")
    assert question.is_quoted_in("All the\tkeys of\u00a0the\r\ndictionary are text")
    assert not question.is_quoted_in("the keys of a dictionary")
    assert not Question("q", ("a",)).is_quoted_in("anything")


# --- headings -------------------------------------------------------------------------------------------------------


def chunk(uri: str, *headings: str) -> dict[str, Any]:
    return {"uri": uri, "heading_path": list(headings), "text": "..."}


def asked(questions: Iterable[Question]) -> set[tuple[str, str]]:
    return {(question.query, question.relevant[0]) for question in questions}


def test_only_headings_of_one_document_are_asked() -> None:
    payloads = [
        chunk("a", "Reading and writing JSON"),
        chunk("a", "Reading and writing JSON"),
        chunk("a", "How it works inside"),
        chunk("b", "How it  WORKS inside"),
        chunk("b", "How it works inside", "Only found in b"),
    ]
    assert asked(known_items(payloads)) == {("Reading and writing JSON", "a"), ("Only found in b", "b")}


def test_short_heading_is_asked_with_the_one_above_it() -> None:
    payloads = [chunk("a", "Guide", "Sockets", "See also"), chunk("b", "Guide", "Threads", "See also"), chunk("c", "Zebra")]
    assert asked(known_items(payloads)) == {("Sockets: See also", "a"), ("Threads: See also", "b"), ("Zebra", "c")}


def test_headings_without_letters_and_points_without_heading_or_document_ask_nothing() -> None:
    payloads = [chunk("a", "1.2"), chunk("a"), {"uri": "a", "heading_path": None}, {"heading_path": ["Of no document at all"]}]
    assert known_items(payloads) == []
    assert asked(known_items([chunk("a", "All about zebras", "3.1")])) == {("All about zebras", "a")}


def test_every_document_has_its_turn_before_a_long_one_has_its_second() -> None:
    payloads = [chunk("long", f"Heading number {n} of many") for n in range(50)]
    payloads += [chunk(f"short {n}", f"The only heading of {n}") for n in range(5)]
    questions = known_items(payloads, limit=8)
    assert sorted(question.relevant[0] for question in questions) == ["long"] * 3 + [f"short {n}" for n in range(5)]


def test_spelling_does_not_depend_on_who_came_first() -> None:
    payloads = [chunk("a", "How it works inside"), chunk("a", "How It Works Inside")]
    assert known_items(payloads) == known_items(payloads[::-1]) == [Question("How It Works Inside", ("a",))]


@settings(max_examples=25)
@given(st.randoms(use_true_random=False), st.integers(0, 2_000), st.integers(1, 3))
def test_order_of_points_changes_nothing_though_most_headings_are_dropped(
    shuffler: random.Random, shared: int, limit: int
) -> None:
    payloads = [chunk(f"d{n}", f"The {n}th of all") for n in range(1_000)]
    payloads += [chunk("another", f"The {n}th of all") for n in range(0, shared, 2)]
    questions = known_items(payloads, limit=limit)
    shuffler.shuffle(payloads)
    assert known_items(payloads, limit=limit) == questions
    assert len(questions) == limit
    for question in questions:
        holders = {payload["uri"] for payload in payloads if payload["heading_path"] == [question.query]}
        assert holders == set(question.relevant)


def test_memory_follows_from_the_number_of_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class WatchedSample(golden_set._HeadingSample):
        def add(self, heading: str, *, uri: str) -> None:
            super().add(heading, uri=uri)
            sizes.append(len(self._found))

    monkeypatch.setattr(golden_set, "_HeadingSample", WatchedSample)
    questions = known_items((chunk(f"d{n}", f"Heading with number {n}") for n in range(3_000)), limit=5)
    assert len(questions) == 5
    assert max(sizes) <= 2 * 5 * HEADINGS_PER_QUESTION
