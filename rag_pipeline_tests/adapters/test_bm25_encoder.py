"""BM25 weights: what meets what, in English, in code, in Korean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_pipeline.adapters.bm25_encoder import Bm25Encoder, prepare_text

ENCODER = Bm25Encoder()


def shared_words(question: str, text: str) -> int:
    return len(set(ENCODER.encode_query(question).indices) & set(ENCODER.encode_documents([text])[0].indices))


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("running queries", "a query that runs"),
        ("Index", "INDEXES"),
        ("cafe", "café"),
        ("run_coroutine_threadsafe", "call asyncio.run_coroutine_threadsafe(coro, loop)"),
        ("asyncio.run_coroutine_threadsafe", "run_coroutine_threadsafe"),
        ("max wal size", "max_wal_size (integer)"),
        ("MAX_WAL_SIZE", "max_wal_size"),
        ("http server", "class HTTPServer"),
        ("json decoder", "JSONDecoder"),
        ("pg_stat_activity", "SELECT * FROM pg_stat_activity;"),
        ("3.11", "Python 3.11"),
        ("검색", "문서를 검색합니다"),
        ("문서 색인", "문서를 색인하는 방법"),
        ("데이터베이스", "관계형 데이터베이스에서는"),
        ("PostgreSQL 설치", "PostgreSQL을 설치하려면"),
        ("検索", "日本語の文書を検索する"),
        ("数据库", "关系数据库管理系统"),
        ("\uff46\uff55\uff4c\uff4c", "full"),
        ("\u1100\u1161\u11a8", "각"),
    ],
)
def test_question_meets_text(question: str, text: str) -> None:
    assert shared_words(question, text) >= 1


@pytest.mark.parametrize(
    ("question", "text"), [("the of and", "the of and"), ("cat", "concatenate"), ("문서", "검색합니다"), ("", "x")]
)
def test_question_misses_text(question: str, text: str) -> None:
    assert shared_words(question, text) == 0


def test_whole_identifier_counts_more_than_its_parts_alone() -> None:
    exact = shared_words("max_wal_size", "set max_wal_size")
    parts = shared_words("max_wal_size", "the max size of the wal")
    assert exact > parts >= 3


def test_repeated_words_weigh_more_and_long_texts_less() -> None:
    once, twice = ENCODER.encode_documents(["zebra", "zebra zebra"])
    long = ENCODER.encode_documents(["zebra " + " ".join(f"w{n}" for n in range(500))])[0]
    weight = dict(zip(long.indices, long.values, strict=True))[once.indices[0]]
    assert twice.values[0] > once.values[0] > weight > 0


def test_question_words_weigh_one_each() -> None:
    assert set(ENCODER.encode_query("zebra zebra giraffe").values) == {1.0}


def test_weights_are_those_on_disk_everywhere() -> None:
    """Canonical numbers: a change here means that every stored index must be built again, so raise the revision."""
    vector = ENCODER.encode_documents(["Zebras run max_wal_size 색인을"])[0]
    assert set(vector.indices) == CANONICAL_INDICES
    assert vector.values == pytest.approx([1.6320] * 8, abs=1e-4)


CANONICAL_INDICES = {96045356, 190472755, 243905464, 300851033, 309782534, 370127630, 1030514789, 1054603790}


def test_name_tells_every_setting() -> None:
    names = {encoder.name for encoder in (Bm25Encoder(), Bm25Encoder(k=1.5), Bm25Encoder(b=0.5), Bm25Encoder(avg_len=100))}
    assert len(names) == 4
    assert Bm25Encoder().name == ENCODER.name


@given(st.lists(st.text(), max_size=5))
def test_any_text_gives_one_clean_vector(texts: list[str]) -> None:
    vectors = ENCODER.encode_documents(texts)
    assert len(vectors) == len(texts)
    for vector in vectors:
        assert len(set(vector.indices)) == len(vector.indices) == len(vector.values)
        assert all(0 < value < 10 for value in vector.values)


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_is_left_alone(text: str) -> None:
    assert prepare_text(text) is text


@pytest.mark.parametrize(
    ("text", "prepared"),
    [("가", " 가 "), ("검색합니다", " 검색 색합 합니 니다 "), ("API를 쓴다", "API 를   쓴다 "), ("naïve", "naïve")],
)
def test_cjk_becomes_pairs(text: str, prepared: str) -> None:
    assert prepare_text(text) == prepared
