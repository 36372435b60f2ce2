"""Texts to BM25 weights, by the engine's own tokenizer and hash, so that both stores hold the same numbers."""

import re
import unicodedata
from collections.abc import Sequence

import qdrant_edge

from rag_pipeline.schema import SparseVector

_REVISION = 1
"""Counts changes of the text rules below; part of the name, and so of every fingerprint."""

_CJK_RUN = re.compile(
    "[\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff]+"
)
"""Hangul, kana and Han: scripts whose words end in particles or stand without spaces."""


class Bm25Encoder:
    """BM25 for technical English, with pairs of characters for Korean, Japanese and Chinese.

    The engine's code tokenizer keeps an identifier whole and adds its parts (``max_wal_size``: also max, wal, size),
    stems English and drops its stop words. It knows no Korean particle and no Japanese word: a run of these scripts is
    given to it as overlapping pairs of characters, so a question finds a word whatever is glued to it.

    ``avg_len``: words of a usual chunk, stop words left out; a chunk of 256 model tokens has about so many.
    """

    def __init__(self, *, k: float = 1.2, b: float = 0.75, avg_len: float = 150) -> None:
        self.name = f"qdrant-bm25-code-english-cjk2-r{_REVISION}(k={k:g},b={b:g},avg_len={avg_len:g})"
        self._model = qdrant_edge.Bm25(
            qdrant_edge.Bm25Config(
                k=k,
                b=b,
                avg_len=avg_len,
                tokenizer=qdrant_edge.TokenizerType.Code,
                language="english",
                lowercase=True,
                ascii_folding=True,
            )
        )

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        return [_sparse_vector(self._model.embed_document(prepare_text(text))) for text in texts]

    def encode_query(self, text: str) -> SparseVector:
        return _sparse_vector(self._model.embed_query(prepare_text(text)))


def prepare_text(text: str) -> str:
    """The text in NFKC, every run of CJK characters replaced by its overlapping pairs."""
    if text.isascii():
        return text
    return _CJK_RUN.sub(_pairs, unicodedata.normalize("NFKC", text))


def _pairs(run: re.Match[str]) -> str:
    letters = run.group()
    if len(letters) == 1:
        return f" {letters} "
    return f" {' '.join(letters[i : i + 2] for i in range(len(letters) - 1))} "


def _sparse_vector(vector: qdrant_edge.SparseVector) -> SparseVector:
    return SparseVector(indices=tuple(vector.indices), values=tuple(vector.values))
