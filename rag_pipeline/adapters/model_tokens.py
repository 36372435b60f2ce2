"""A model's input as token ids: counted, never cut. By the Rust library ``tokenizers``, without torch."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from rag_pipeline.errors import SettingsError, TruncationError

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def load_tokenizer(file: Path) -> Tokenizer:
    """The tokenizer with truncation and padding off, so that it tells the true length of a text."""
    try:
        definition = file.read_text(encoding="utf-8")
        # The library answers a broken file with a bare Exception, so what can be told from outside is told here.
        is_whole = isinstance(json.loads(definition)["model"], dict)
    except (OSError, ValueError, KeyError, TypeError):
        is_whole = False
    if not is_whole:
        raise SettingsError(f"embedding.model: {file} is not a tokenizer; get the model again")
    tokenizer: Tokenizer = Tokenizer.from_str(definition)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def readable(text: str) -> str:
    """The text with lone surrogates, which are no characters, replaced; neither tokenizers nor UTF-8 take them."""
    return _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


class TokenCounter:
    """Texts to the token ids that the model reads, special tokens included."""

    def __init__(self, file: Path, *, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self._tokenizer = load_tokenizer(file)
        self._padding_id = _padding_id(file.parent, self._tokenizer)

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids by text. Raises TruncationError for the first text that is longer than the model's window."""
        ids = self.uncounted_ids(texts)
        for position, row in enumerate(ids):
            if len(row) > self.max_tokens:
                raise TruncationError(
                    f"text {position} of the batch has {len(row)} tokens with its prompt and special tokens, and "
                    f"embedding.max_tokens is {self.max_tokens}; chunk it again with the tokenizer of this model"
                )
        return ids

    def uncounted_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids by text, whatever their number."""
        return [encoding.ids for encoding in self._encode(texts)]

    def prompt_length(self, prompt: str) -> int:
        """Tokens in front of the text: leading special tokens and the prompt; 0 without a prompt."""
        if not prompt:
            return 0
        encoding = self._tokenizer.encode(prompt)
        return len(encoding.ids) - encoding.special_tokens_mask[-1]

    def pad(
        self, ids: Sequence[Sequence[int]], *, length: int | None = None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Token ids and attention mask, int64 of shape ``(texts, length)``; as long as the longest where none is given."""
        length = length or max(map(len, ids))
        tokens = np.full((len(ids), length), self._padding_id, dtype=np.int64)
        mask = np.zeros((len(ids), length), dtype=np.int64)
        for row, text_ids in enumerate(ids):
            tokens[row, : len(text_ids)] = text_ids
            mask[row, : len(text_ids)] = 1
        return tokens, mask

    def _encode(self, texts: Sequence[str]) -> list[Encoding]:
        try:
            return self._tokenizer.encode_batch_fast(list(texts))
        except TypeError:  # a lone surrogate is no character, and the library refuses it
            return self._tokenizer.encode_batch_fast([readable(text) for text in texts])


def _padding_id(folder: Path, tokenizer: Tokenizer) -> int:
    """The id that fills up short texts. It is masked, but some models derive positions from it."""
    try:
        name = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("pad_token")
    except (OSError, ValueError, AttributeError):
        name = None
    name = name.get("content") if isinstance(name, dict) else name
    return (tokenizer.token_to_id(name) if isinstance(name, str) else None) or 0
