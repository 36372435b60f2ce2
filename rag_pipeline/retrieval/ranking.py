"""Two lists of candidates to one list of hits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rag_pipeline.retrieval.fusion import fuse, fuse_scores
from rag_pipeline.retrieval.passages import join_neighbours, spread_documents, weigh_documents
from rag_pipeline.schema import Hit

Fusion = Literal["scores", "rrf"]


@dataclass(frozen=True, slots=True)
class Ranking:
    """How a hybrid search orders what nearness and words brought. Why these defaults: docs/stores.md."""

    fusion: Fusion = "scores"
    """By relative scores, or by reciprocal ranks."""
    dense_weight: float = 0.6
    """Share of nearness, 0 to 1; words have the rest."""
    rrf_k: int = 60
    document_weight: float = 1.0
    """Weight of what else the document brought; 0 ranks each chunk alone."""
    passage_tokens: int = 1024
    """Chunks that adjoin are joined up to so many tokens; 0 leaves each alone."""
    repeat_penalty: float = 0.12
    """Share of the best score that a further hit of a document costs for each earlier one; 0 spreads nothing."""

    def rank(self, dense: Sequence[Hit], sparse: Sequence[Hit], *, limit: int) -> list[Hit]:
        """The best ``limit`` hits, best first."""
        candidates = self._fuse([dense, sparse])
        if self.document_weight:
            candidates = weigh_documents(candidates, weight=self.document_weight)
        if self.passage_tokens:
            candidates = join_neighbours(candidates, max_tokens=self.passage_tokens, limit=len(candidates))
        return spread_documents(candidates, penalty=self.repeat_penalty, limit=limit)

    def _fuse(self, rankings: Sequence[Sequence[Hit]]) -> list[Hit]:
        weights = (self.dense_weight, 1 - self.dense_weight)
        everything = sum(map(len, rankings))
        if self.fusion == "rrf":
            return fuse(rankings, k=self.rrf_k, limit=everything, weights=weights)
        return fuse_scores(rankings, limit=everything, weights=weights)
