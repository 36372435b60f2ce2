"""Fast tokenizers without a vocabulary, for tests of rules that hold under any tokenizer."""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


class WordTokenizer:
    """Words in pieces of four characters, every other sign for itself; counts of texts parted at blanks add up."""

    special_tokens = 2
    pattern = re.compile(r"\w{1,4}|[^\w\s]")

    def spans(self, texts: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        return [
            np.array([token.span() for token in self.pattern.finditer(text)], dtype=np.int32).reshape(-1, 2) for text in texts
        ]

    def count(self, text: str) -> int:
        return len(self.pattern.findall(text))


class BlankCountingTokenizer(WordTokenizer):
    """Counts each run of blanks as a token, as byte-pair tokenizers in part do; counts do not add up."""

    pattern = re.compile(r"\w{1,4}|[^\w\s]|\s{1,3}")
