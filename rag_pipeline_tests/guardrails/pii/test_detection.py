"""Patterned personal data: found plain and disguised, told from what only looks like it, never slow."""

import random
import time
from collections.abc import Callable

import pytest

from rag_pipeline.guardrails.pii.detection import find_over_borders, find_patterned
from rag_pipeline.guardrails.pii.folding import fold
from rag_pipeline.guardrails.pii.kinds import Kind
from rag_pipeline.guardrails.pii.subjects import subject_digest
from rag_pipeline_tests.guardrails.pii.people import DISGUISES, MAKERS, Value

SENTENCES = ("Please note {} in the file.", "고객 번호는 {}입니다.", "{}", "Value: {}, and more text follows here.")
ROUNDS = 30


def found(text: str) -> list[tuple[str, str]]:
    return [(str(finding.kind), text[finding.start : finding.end]) for finding in find_patterned(text, set(Kind))]


def plain(text: str) -> str:
    return text


@pytest.mark.parametrize("disguise", [plain, *DISGUISES.values()], ids=lambda function: function.__name__)
@pytest.mark.parametrize("make", MAKERS, ids=lambda function: function.__name__)
def test_values_are_found_whatever_they_wear(make: Callable[[random.Random], Value], disguise: Callable[[str], str]) -> None:
    chance = random.Random(7)
    for _ in range(ROUNDS):
        value = disguise(make(chance).text)
        text = chance.choice(SENTENCES).format(value)
        start = text.index(value)
        findings = find_patterned(text, set(Kind))
        assert any(f.start <= start and start + len(value.rstrip("\u0301")) <= f.end for f in findings), ascii(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hong@example.co.kr로 보내 주세요", [("EMAIL", "hong@example.co.kr")]),
        ("번호는900101-1234567입니다", [("KR_RRN", "900101-1234567")]),
        ("외국인등록번호 9001015234567", [("KR_FRN", "9001015234567")]),
        ("card 4111 1111 1111 1111, exp 12/28", [("CREDIT_CARD", "4111 1111 1111 1111")]),
        ("계좌 110-123-456789", [("BANK_ACCOUNT", "110-123-456789")]),
        ("신한 110-123-456789", [("BANK_ACCOUNT", "110-123-456789")]),
        ("paid \u202e7654321-101009\u202c.pdf", [("KR_RRN", "\u202e7654321-101009\u202c")]),
        ("국민은행 123456-78-901234", [("BANK_ACCOUNT", "123456-78-901234")]),
        (
            "4111 1111 1111 1111 is lost so 010-1234-5678 is, too",
            [("CREDIT_CARD", "4111 1111 1111 1111"), ("PHONE", "010-1234-5678")],
        ),
        ("(02) 123-4567", [("PHONE", "(02) 123-4567")]),
        ("2a00:db8::1:2:3에서", [("IP_ADDRESS", "2a00:db8::1:2:3")]),
        ("ask hong (at) example [dot] com", [("EMAIL", "hong (at) example [dot] com")]),
    ],
)
def test_the_whole_value_is_found_and_nothing_around_it(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",
        "991399-1234567",
        "version 1.2.3.4",
        "26.3.3.1. Continuous Archiving",
        "127.0.0.1 and 0.0.0.0 and 255.255.255.0",
        "12345678901234567890",
        "3.14159265358979",
        "2024-01-02 03:04:05",
        "1700000000000",
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14",
        "logo@2x.png and @functools.wraps and a@b",
        "std::vector a[1:2:3] 12:34:56 aa:bb:cc:dd:ee:ff",
        "DE88 3704 0044 0532 0130 00",
        "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "1.30\n+ 1.20 is 2.50",
        "기업 123-45-67890",
        "우리 2024-01-02",
        "하나 110 123 456789",
    ],
)
def test_ordinary_numbers_and_code_stay(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize("text", ["192.168.0.1", "10.0.0.1", "172.20.1.2", "192.0.2.7", "fe80::1:2:3", "2001:db8::1:2:3"])
def test_addresses_that_name_no_host_of_the_world_stay_unless_asked_for(text: str) -> None:
    assert found(text) == []
    assert [f.kind for f in find_patterned(text, set(Kind), masks_private_addresses=True)] == ["IP_ADDRESS"]


def test_only_the_kinds_asked_for_are_found() -> None:
    text = "hong@example.com 900101-1234567"
    assert [finding.kind for finding in find_patterned(text, {"EMAIL"})] == ["EMAIL"]


@pytest.mark.parametrize("halves", [("x 4111 1111", "1111 1111 y"), ("x hong@exam", "ple.com y"), ("900101-12", "34567")])
def test_halves_on_both_sides_of_a_border_are_found(halves: tuple[str, str]) -> None:
    left, right = find_over_borders(halves, [[], []], lambda text: find_patterned(text, set(Kind)))
    assert halves[0][left[0].start :] in ("4111 1111", "hong@exam", "900101-12")
    assert halves[1][: right[0].end] in ("1111 1111", "ple.com", "34567")


@pytest.mark.parametrize("text", ["a [dot] ", "a@b.", "a.b.", "1 ", "1234 567 ", "DE12 ", "O0 ", "\u1100", "a@ "])
def test_hostile_text_is_not_slow(text: str) -> None:
    started = time.perf_counter()
    find_patterned(text * (20_000 // len(text)), set(Kind))
    assert time.perf_counter() - started < 5


def test_folding_keeps_track_of_places() -> None:
    text = "ａ\u200bb ﬁ 1\u0301."
    folded = fold(text)
    assert folded.text == "ab fi 1."
    assert text[slice(*folded.original_span(0, 2))] == "ａ\u200bb"
    assert text[slice(*folded.original_span(6, 7))] == "1\u0301"


def test_a_subject_is_the_same_in_every_disguise_and_unknown_without_the_key() -> None:
    number, key = "900101-1234567", b"key"
    digests = {subject_digest(disguise(number), key) for disguise in (plain, *DISGUISES.values())}
    assert digests == {subject_digest("9001011234567", key)}
    assert subject_digest(number, b"another") not in digests
    assert subject_digest(number, b"") == ""
