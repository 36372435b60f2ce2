"""The tokenizer of a model folder, by the Rust library ``tokenizers``; neither torch nor transformers is loaded."""

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding

from rag_pipeline.adapters.model_tokens import load_tokenizer, readable


class HuggingFaceTokenizer:
    """A ``Tokenizer`` that reads a ``tokenizer.json``. It never cuts and never pads, whatever that file says."""

    def __init__(self, path: str | Path) -> None:
        """``path``: the file, or the folder that holds it."""
        # The library's threads gain nothing on batches of one document and warn after every fork.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        file = Path(path)
        self._tokenizer = load_tokenizer(file if file.is_file() else file / "tokenizer.json")
        self.special_tokens = len(self._tokenizer.encode("", add_special_tokens=True))

    def spans(self, texts: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        try:
            encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        except TypeError:
            encodings = self._tokenizer.encode_batch([readable(text) for text in texts], add_special_tokens=False)
        return [_offsets(encoding) for encoding in encodings]

    def count(self, text: str) -> int:
        try:
            return len(self._tokenizer.encode(text, add_special_tokens=False))
        except TypeError:
            return len(self._tokenizer.encode(readable(text), add_special_tokens=False))


def _offsets(encoding: Encoding) -> npt.NDArray[np.int32]:
    flat = np.fromiter(chain.from_iterable(encoding.offsets), dtype=np.int32, count=2 * len(encoding))
    return flat.reshape(-1, 2)
