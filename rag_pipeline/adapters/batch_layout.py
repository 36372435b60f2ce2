"""Token ids as the arrays that a transformer reads: padded, or one after the other without padding."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rag_pipeline.adapters.model_tokens import TokenCounter

LENGTH_STEP = 16
"""Lengths on a GPU are multiples of it: few different shapes, and sizes that its matrix units like."""


def padded(ids: Sequence[Sequence[int]], counter: TokenCounter) -> Mapping[str, Any]:
    """Every text as long as the longest."""
    tokens, mask = counter.pad(ids)
    return {"input_ids": tokens, "attention_mask": mask}


def stepped(ids: Sequence[Sequence[int]], counter: TokenCounter) -> Mapping[str, Any]:
    """Every text as long as the longest, rounded up, never beyond the window.

    Texts of one length need neither padding nor a mask, and without a mask torch takes its fastest attention; besides, the
    libraries read a mask back from the device to see whether it masks anything.
    """
    longest, shortest = max(map(len, ids)), min(map(len, ids))
    if longest == shortest:
        return {"input_ids": np.array(ids, dtype=np.int64)}
    length = max(longest, min(-(-longest // LENGTH_STEP) * LENGTH_STEP, counter.max_tokens))
    tokens, mask = counter.pad(ids, length=length)
    return {"input_ids": tokens, "attention_mask": mask}


def flat(ids: Sequence[Sequence[int]], *, first_position: int) -> Mapping[str, Any]:
    """All texts as one row, with the borders that attention without padding needs.

    ``first_position`` is the number that the model gives to the first token of a text.
    """
    lengths = np.array([len(row) for row in ids])
    ends = np.concatenate([[0], lengths.cumsum()]).astype(np.int32)
    positions = np.arange(ends[-1]) - np.repeat(ends[:-1], lengths) + first_position
    longest = int(lengths.max())
    return {
        "input_ids": np.concatenate([np.asarray(row, dtype=np.int64) for row in ids])[np.newaxis],
        "position_ids": positions.astype(np.int64)[np.newaxis],
        "seq_idx": np.repeat(np.arange(len(ids), dtype=np.int32), lengths)[np.newaxis],
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": longest,
        "max_length_k": longest,
    }
