"""Texts of so many tokens: random words that are one token each, the same for the same seed."""

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

Texts = tuple[list[str], list[int]]
"""And the tokens of each."""
SPECIAL_TOKENS = 2
_SHORTEST = 16
_MIDDLE, _SPREAD = 210, 0.55
"""Median tokens of a natural chunk and the spread of their logarithm: chunks of documentation average about 230."""
_LETTERS_MIN = 4


class TextMaker:
    """Makes texts and knows their tokens, special ones included."""

    def __init__(self, model: Path, *, seed: int) -> None:
        tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        words = (word for word in tokenizer.get_vocab() if len(word) >= _LETTERS_MIN and word.isascii() and word.isalpha())
        self._words = np.array(sorted(words))
        self._seed = seed

    def uniform(self, count: int, tokens: int) -> Texts:
        """Texts of the same length, and that length for each."""
        return self._texts([tokens] * count, part=0)

    def natural(self, count: int, longest: int, *, part: int = 0) -> Texts:
        """Texts whose lengths are spread as those of real chunks are; ``part`` gives others of the same kind."""
        spread = np.random.default_rng((self._seed, part)).lognormal(np.log(min(_MIDDLE, longest / 2)), _SPREAD, count)
        return self._texts([int(tokens) for tokens in spread.clip(min(_SHORTEST, longest), longest)], part=part)

    def _texts(self, lengths: list[int], *, part: int) -> Texts:
        generator = np.random.default_rng((self._seed, part, len(lengths)))
        picked = (generator.integers(len(self._words), size=length - SPECIAL_TOKENS) for length in lengths)
        return [" ".join(self._words[numbers]) for numbers in picked], lengths
