"""The tokenizer of a model folder, by the Rust library ``tokenizers``; neither torch nor transformers is loaded."""

import json
import os
import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding
from tokenizers import Tokenizer as RustTokenizer

from rag_pipeline.errors import SettingsError

FILE_NAME = "tokenizer.json"
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class HuggingFaceTokenizer:
    """A ``Tokenizer`` that reads ``tokenizer.json``. It never cuts and never pads, whatever that file says."""

    def __init__(self, path: str | Path) -> None:
        # The library's threads gain nothing on batches of one document and warn after every fork.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self._tokenizer = _load(Path(path) / FILE_NAME)
        self.special_tokens = len(self._tokenizer.encode("", add_special_tokens=True))

    def spans(self, texts: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        try:
            encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        except TypeError:
            encodings = self._tokenizer.encode_batch([_encodable(text) for text in texts], add_special_tokens=False)
        return [_offsets(encoding) for encoding in encodings]

    def count(self, text: str) -> int:
        try:
            return len(self._tokenizer.encode(text, add_special_tokens=False))
        except TypeError:
            return len(self._tokenizer.encode(_encodable(text), add_special_tokens=False))


def _load(file: Path) -> RustTokenizer:
    if not file.is_file():
        raise SettingsError(f"embedding.model: {file} does not exist; choose a model folder that holds a fast tokenizer")
    try:
        definition = file.read_text(encoding="utf-8")
        # The library answers a broken file with a bare Exception, so what can be told from outside is told here.
        is_whole = isinstance(json.loads(definition).get("model"), dict)
    except (OSError, ValueError, AttributeError):
        is_whole = False
    if not is_whole:
        raise SettingsError(f"embedding.model: {file} is damaged; fetch the model again")
    tokenizer = RustTokenizer.from_str(definition)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _offsets(encoding: Encoding) -> npt.NDArray[np.int32]:
    flat = np.fromiter(chain.from_iterable(encoding.offsets), dtype=np.int32, count=2 * len(encoding))
    return flat.reshape(-1, 2)


def _encodable(text: str) -> str:
    """The text with lone surrogates, which are no characters, replaced one for one, so that offsets still hold."""
    return LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
