"""How one index takes over from another."""

from typing import Literal

from pydantic import Field

from rag_pipeline.settings.section import Section

Way = Literal["in_place", "candidate"]


class StrategySettings(Section):
    """Where a change of the settings is applied. A new vector space is always built as a candidate."""

    parsing: Way = Field(default="in_place", description="Parser or cleaning of a document type.")
    chunking: Way = Field(
        default="in_place",
        description="Chunk size, overlap or strategy. `in_place` touches only documents of the types that changed, and answers "
        "mix old and new chunks for that time; `candidate` switches all at once, through the gate.",
    )
    masking: Way = Field(
        default="in_place", description="What personal data is masked, and how; only in sources whose rules changed."
    )
    points: Way = Field(default="in_place", description="Sparse model or form of the payload, after an upgrade.")


class ReleaseSettings(Section):
    """How a candidate becomes the live collection, and how long one can go back."""

    mode: Literal["automatic", "approval"] = Field(
        default="automatic",
        description="`automatic` switches when the gate is passed; `approval` waits for `rag release --approve` or a "
        "materialisation of `live_collection` in the web UI.",
    )
    strategy: StrategySettings = Field(default=StrategySettings(), description="In place or beside, by kind of change.")
    grace_hours: float = Field(
        default=24,
        ge=0,
        description="Hours that a retired collection is kept, and kept fresh, for `rag rollback`; longer than any request.",
    )
    golden_set: str | None = Field(
        default=None,
        description="JSONL file of questions with the documents that answer them (docs/evaluation.md). Without one the gate "
        "makes questions from headings, which is weaker.",
    )
    canaries: str | None = Field(
        default=None, description="JSONL file of questions whose documents must be found, before and right after a switch."
    )
    limit: int = Field(default=5, ge=1, le=100, description="Hits that the gate looks at for each question: the k of recall@k.")
    max_drop: float = Field(
        default=0.05, ge=0, le=1, description="How much less recall@k and nDCG@k than the live collection a candidate may have."
    )
    min_recall: float = Field(
        default=0.3, ge=0, le=1, description="Recall@k below which no candidate goes live, whatever live has."
    )
    min_overlap: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of neighbouring documents that live and candidate must have in common, where there is no golden set.",
    )
    latency_factor: float = Field(
        default=3.0, ge=1, description="How many times the live collection's 95th percentile of query time is allowed."
    )
    latency_ok_ms: float = Field(default=300, ge=0, description="Milliseconds; a 95th percentile below this is never refused.")
    min_free_gb: float = Field(
        default=1.0, ge=0, description="GiB that must stay free beside the second collection, or the reindex does not start."
    )
    follow_interval_s: float = Field(
        default=60,
        gt=0,
        description="Seconds after which a reindex stops to follow the sources with the live collection and to let others write.",
    )
