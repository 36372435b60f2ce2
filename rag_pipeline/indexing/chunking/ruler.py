"""What a tokenizer's counts are worth: whether they add up at blanks, and what a text's input costs with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from rag_pipeline.errors import SettingsError
from rag_pipeline.indexing.chunking.rules import ChunkingRule
from rag_pipeline.ports import Tokenizer

MIN_ROOM = 8
CONTEXT_SHARE = 4
CHARS_PER_TOKEN_MAX = 24
"""Guards payloads against words of megabytes that a tokenizer calls one unknown token."""

PROBES = ("the", "Zebra", "3.5", "(x)", "—", "가나", "字", "naïve", "##a", "'s", "_x", "x86-64", "😀", "ω.", "-")
BLANKS = (" ", "\n", "\n\n", "  ", "\t", "\N{NO-BREAK SPACE}", "\n    ")


@dataclass(frozen=True, slots=True)
class Additivity:
    """How far the count of a joined text can pass the sum of its parts."""

    is_exact: bool
    """Counts of texts parted by a blank add up, so nothing needs to be counted twice."""
    joint_tokens: int
    """Tokens that a blank line between two texts adds, as measured."""


@dataclass(frozen=True, slots=True)
class Ruler:
    """The size of a rule in the tokens of one tokenizer."""

    tokenizer: Tokenizer
    size: int
    """Tokens that a whole model input may have, so far as they can be counted without the prompt."""
    overhead: int
    """Special tokens and prompt of every input."""
    target: float
    """Share of the size that a chunk aims at."""
    overlap_share: float
    """Share of a chunk that may be repeated from the one before."""
    additivity: Additivity

    @property
    def room(self) -> int:
        """Tokens left for context and text."""
        margin = 0 if self.additivity.is_exact else 1 + 2 * self.additivity.joint_tokens
        return self.size - self.overhead - min(margin, (self.size - self.overhead) // 4)

    @property
    def aim(self) -> int:
        """Tokens that context and text should have."""
        return max(MIN_ROOM, int(self.room * self.target))

    @property
    def overlap(self) -> int:
        """Tokens that a chunk of the length aimed at may repeat."""
        return int(self.overlap_share * min(self.size, self.aim + self.overhead))

    @property
    def context_room(self) -> int:
        """Tokens that headings may take; the header of a table may take as many again."""
        return self.room // CONTEXT_SHARE

    @property
    def chars_max(self) -> int:
        """Characters that one chunk may hold, whatever the tokenizer makes of them."""
        return self.size * CHARS_PER_TOKEN_MAX

    def input_tokens(self, context: str, text: str) -> int:
        """The exact count of a whole model input, by tokenising it."""
        return self.overhead + self.tokenizer.count(f"{context}\n{text}" if context else text)


def make_ruler(rule: ChunkingRule, *, tokenizer: Tokenizer, prompt_tokens: int) -> Ruler:
    """The ruler of a rule. Raises SettingsError when prompt and special tokens leave no room for text."""
    overhead = tokenizer.special_tokens + prompt_tokens
    if rule.size - overhead < MIN_ROOM:
        raise SettingsError(
            f"chunking size {rule.size}: the prompt ({prompt_tokens} tokens) and the special tokens ({tokenizer.special_tokens}) "
            f"leave fewer than {MIN_ROOM} tokens for text; raise the size or shorten embedding.document_prompt"
        )
    additivity = measure_additivity(tokenizer)
    # The prompt is counted apart; where counts do not add up, its last word and the first of the text may cost one more.
    joint = additivity.joint_tokens if prompt_tokens else 0
    return Ruler(
        tokenizer=tokenizer,
        size=rule.size - joint,
        overhead=overhead,
        target=rule.target,
        overlap_share=rule.overlap,
        additivity=additivity,
    )


_MEASURED: WeakKeyDictionary[Tokenizer, Additivity] = WeakKeyDictionary()


def measure_additivity(tokenizer: Tokenizer) -> Additivity:
    """What joining costs under this tokenizer, measured on probes once and remembered.

    Word-piece tokenizers part texts at every blank before they do anything else, so their counts add up. Byte-pair and
    unigram tokenizers count a blank with the word after it.
    """
    if tokenizer not in _MEASURED:
        _MEASURED[tokenizer] = _probe(tokenizer)
    return _MEASURED[tokenizer]


def _probe(tokenizer: Tokenizer) -> Additivity:
    alone = dict(zip(PROBES, _counts(tokenizer, PROBES), strict=True))
    pairs = [(left, blank, right) for left in PROBES for blank in BLANKS for right in PROBES]
    joined = _counts(tokenizer, ["".join(pair) for pair in pairs])
    excess = [count - alone[left] - alone[right] for count, (left, _, right) in zip(joined, pairs, strict=True)]
    is_exact = not any(excess) and _counts(tokenizer, [f"\n{probe} " for probe in PROBES]) == list(alone.values())
    return Additivity(is_exact=is_exact, joint_tokens=0 if is_exact else max(1, *excess))


def _counts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    return [len(spans) for spans in tokenizer.spans(texts)]
