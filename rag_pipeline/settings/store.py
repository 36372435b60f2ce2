"""Where points are kept, and how the engine lays them out.

Nothing here is part of the index's fingerprint: no value of it changes a stored point.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rag_pipeline.settings.section import Section

SERVER_ONLY = (
    "shard_number",
    "replication_factor",
    "write_consistency_factor",
    "write_consistency",
    "write_streams",
    "optimizers",
)


class HnswSettings(Section):
    """The graph in which nearest vectors are found. For collections made from then on, but for `ef_search`."""

    m: int = Field(default=16, ge=4, le=256, description="Links of a vector. More find more, in more memory and a longer build.")
    ef_construct: int = Field(
        default=100, ge=4, le=10_000, description="Candidates looked at for each vector while the graph is built."
    )
    on_disk: bool = Field(default=False, description="Reads the graph from the disk instead of holding it in memory.")
    ef_search: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Candidates followed for a question; default: as many as `ef_construct`. Takes effect at once.",
    )


class QuantizationSettings(Section):
    """Smaller copies of the dense vectors to search in. For collections made from then on, but for the last two."""

    kind: Literal["none", "scalar", "binary"] = Field(
        default="none",
        description="`scalar` keeps a byte for each number, `binary` a bit. Binary suits models of 768 dimensions and more only.",
    )
    in_memory: bool = Field(default=True, description="Holds the small copies in memory; the use of `vectors_on_disk`.")
    rescore: bool = Field(
        default=True, description="Ranks what the copies found by the whole vectors again. Takes effect at once."
    )
    oversampling: float = Field(
        default=2.0,
        ge=1,
        le=100,
        description="Times the wanted number that the copies give to be ranked again. Takes effect at once.",
    )


class VectorIndexSettings(Section):
    """What both stores let one choose about dense vectors."""

    hnsw: HnswSettings = Field(default=HnswSettings(), description="The graph of nearest vectors.")
    quantization: QuantizationSettings = Field(default=QuantizationSettings(), description="Smaller copies of the vectors.")
    vectors_on_disk: bool = Field(
        default=False, description="Reads dense vectors from the disk when wanted instead of holding them in memory."
    )
    indexes_on_disk: bool = Field(
        default=False,
        description="Reads the indexes of words and payload from the disk when wanted instead of holding them in memory.",
    )


class EdgeStoreSettings(VectorIndexSettings):
    """Qdrant inside this process: one folder, one process at a time."""

    kind: Literal["edge"] = Field(default="edge", description="The embedded engine.")
    path: str = Field(default=".rag/qdrant", description="Folder of the collections, relative to this file.")
    lock_wait_s: float = Field(default=60, ge=0, description="Seconds to wait for another process that holds the store.")
    vectors_on_disk: bool = Field(
        default=True,
        description="Maps dense vectors and reads them when wanted; `false` reads all of them at every opening.",
    )
    indexes_on_disk: bool = Field(
        default=True,
        description="Maps the indexes of words and payload; `false` makes them memory at every opening, about 2 KB a point.",
    )
    segment_mb: float = Field(
        default=32,
        ge=1,
        description="MiB of vectors after which what was written is indexed as a segment of its own; an eighth of what is "
        "there, where that is more. Larger segments are fewer to search and take more memory while they are indexed.",
    )

    @model_validator(mode="before")
    @classmethod
    def _is_one_shard(cls, values: Any) -> Any:
        for name in SERVER_ONLY:
            if isinstance(values, dict) and name in values:
                raise ValueError(f"{name} is for a server, the embedded engine has no such thing; remove it, or set kind: server")
        return values


class OptimizerSettings(Section):
    """How a server keeps its segments. For collections made from then on."""

    indexing_threshold_kb: int = Field(
        default=20_000,
        ge=1,
        description="KiB of vectors from which a segment gets its graph, once it is loaded; the server's own default.",
    )
    segments: int | None = Field(default=None, ge=1, description="Segments to aim at; default: the server's, by its cores.")
    max_segment_kb: int | None = Field(
        default=None, ge=1_000, description="KiB of vectors of the largest segment that is made; default: the server's."
    )
    deleted_share: float = Field(
        default=0.2, gt=0, le=1, description="Share of deleted points from which a segment is written anew."
    )


class ServerStoreSettings(VectorIndexSettings):
    """A Qdrant server. The key comes from `QDRANT_API_KEY`."""

    kind: Literal["server"] = Field(description="A server or cluster.")
    url: str = Field(description="`http://localhost:6333`; the environment's `QDRANT_URL` wins.")
    prefer_grpc: bool = Field(default=True, description="gRPC moves vectors as bytes, not as JSON text.")
    timeout_s: float = Field(default=60, gt=0, description="Seconds for one request.")
    batch_points: int = Field(default=256, ge=1, description="Points in one request at most.")
    batch_mb: float = Field(default=16, gt=0, le=30, description="MiB of one request at most; servers refuse 32 and above.")
    write_streams: int = Field(
        default=2,
        ge=1,
        le=64,
        description="Requests under way at once, each of one batch, so at most `write_streams` times `batch_mb` are in memory.",
    )
    allow_insecure: bool = Field(
        default=False,
        description="Also a server off this machine without TLS or without a key, for a network that nobody else reaches.",
    )
    write_consistency: Literal["weak", "medium", "strong"] = Field(
        default="medium", description="Write ordering on a replicated cluster."
    )
    shard_number: int | None = Field(
        default=None, ge=1, description="Shards of a new collection; default: the server's, one for each node."
    )
    replication_factor: int | None = Field(
        default=None, ge=1, description="Copies of each shard of a new collection; default: the server's, 1."
    )
    write_consistency_factor: int | None = Field(
        default=None, ge=1, description="Copies that must have a write before it counts as done; default: the server's, 1."
    )
    optimizers: OptimizerSettings = Field(default=OptimizerSettings(), description="How segments are kept.")

    @model_validator(mode="after")
    def _copies_can_answer(self) -> "ServerStoreSettings":
        if (self.write_consistency_factor or 1) > (self.replication_factor or 1):
            raise ValueError(
                f"write_consistency_factor: {self.write_consistency_factor} copies cannot confirm a write when there are "
                f"{self.replication_factor or 1}; raise replication_factor, or lower it"
            )
        return self


StoreSettings = Annotated[EdgeStoreSettings | ServerStoreSettings, Field(discriminator="kind")]
