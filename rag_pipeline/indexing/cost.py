"""What a build costs: seconds by stage, memory and disk of the store, machines, euros. Arithmetic over measured rates.

``rag plan`` and the tables of docs/scaling.md come from here.
"""

import math
from dataclasses import dataclass

ASSUMED_TOKENS_PER_S = 5_000.0
"""A small model on two cores; replaced by the measured rate after the first run."""
UPSERT_POINTS_PER_S = 2_400.0
"""Into the embedded store, 384 numbers with sparse vector and the whole payload, points/s of processor time on a busy machine
(benchmarks/store.py). The engine alone, with a small payload, was seen to take 16,200."""
GRAPH_CORE_MS = 1.0
"""Of a point with 384 numbers: two cores took 50 s for the graph of 100,000. Assumed in proportion to the dimension."""
GRAPH_DIMENSION = 384
GRAPH_FACTOR = 1.5
"""Memory of vectors with their graph over the vectors alone; Qdrant's own rule of thumb (its capacity planning guide)."""
INDEX_BYTES = 2_200
"""Memory of a point's words, payload indexes and id: 128 MiB were seen for 60,000 points with 60 words and 21 payload fields."""
INDEX_ON_DISK_BYTES = 300
"""The same where the indexes are left on the disk (`store.indexes_on_disk`): 18 MiB. Both on the embedded engine."""
NUMBER_BYTES = 4
PAYLOAD_BYTES = 3_000
"""Of a point: text, context, indexes and the sparse vector. 5.5 kB were seen in all for 384 numbers at 100,000 points."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be built."""

    tokens: int
    points: int
    dimension: int


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast it goes."""

    tokens_per_s: float = ASSUMED_TOKENS_PER_S
    """Of one encoding device."""
    encoders: int = 1
    upsert_points_per_s: float = UPSERT_POINTS_PER_S
    """Of the store, all its nodes together."""
    store_cores: int = 2
    """That build the graph, all nodes together."""


@dataclass(frozen=True, slots=True)
class Duration:
    """Seconds of the stages that are not hidden by others. Parsing and cutting are behind the encoder."""

    embed_s: float
    upsert_s: float
    graph_s: float

    @property
    def total_s(self) -> float:
        """Encoder and upsert run side by side; the graph comes after the last point."""
        return max(self.embed_s, self.upsert_s) + self.graph_s


@dataclass(frozen=True, slots=True)
class Space:
    """What a collection needs."""

    points: int
    memory_bytes: int
    """In the store, for vectors, graph and indexes; what is mapped of the vectors is counted as well."""
    disk_bytes: int
    """Collection and vector artifact."""


@dataclass(frozen=True, slots=True)
class Machines:
    """Prices and sizes: assumptions of whoever asks, none is built in."""

    encoder_eur_per_h: float
    store_node_eur_per_h: float
    store_node_memory_gib: float
    disk_eur_per_gib_month: float


@dataclass(frozen=True, slots=True)
class Bill:
    """A model switch on rented machines: the second collection stands from its first point to the end of the grace time."""

    hours: float
    store_nodes: int
    """That the second collection needs beside those of the live one."""
    encoder_eur: float
    store_eur: float
    disk_eur: float

    @property
    def total_eur(self) -> float:
        """All three."""
        return self.encoder_eur + self.store_eur + self.disk_eur


HOURS_A_MONTH = 730
MEMORY_USED = 0.8
"""Share of a node's memory that a collection may fill."""


def duration_of(work: Work, rates: Rates) -> Duration:
    """How long the stages take."""
    graph_core_s = work.points * GRAPH_CORE_MS / 1_000 * work.dimension / GRAPH_DIMENSION
    return Duration(
        embed_s=work.tokens / (rates.tokens_per_s * rates.encoders),
        upsert_s=work.points / rates.upsert_points_per_s,
        graph_s=graph_core_s / rates.store_cores,
    )


def space_of(points: int, dimension: int, *, indexes_on_disk: bool = False) -> Space:
    """What so many points fill."""
    vectors = points * dimension * NUMBER_BYTES
    with_graph = int(vectors * GRAPH_FACTOR)
    indexes = points * (INDEX_ON_DISK_BYTES if indexes_on_disk else INDEX_BYTES)
    return Space(points, with_graph + indexes, disk_bytes=with_graph + vectors + points * PAYLOAD_BYTES)


def store_nodes(space: Space, node_memory_gib: float) -> int:
    """Nodes whose memory holds it."""
    return max(1, math.ceil(space.memory_bytes / (node_memory_gib * MEMORY_USED * 2**30)))


def bill_of(work: Work, rates: Rates, machines: Machines, *, grace_h: float) -> Bill:
    """What a switch costs."""
    duration, space = duration_of(work, rates), space_of(work.points, work.dimension)
    hours, nodes = duration.total_s / 3600, store_nodes(space, machines.store_node_memory_gib)
    stands_h = hours + grace_h
    return Bill(
        hours=hours,
        store_nodes=nodes,
        encoder_eur=rates.encoders * duration.embed_s / 3600 * machines.encoder_eur_per_h,
        store_eur=nodes * stands_h * machines.store_node_eur_per_h,
        disk_eur=space.disk_bytes / 2**30 * stands_h / HOURS_A_MONTH * machines.disk_eur_per_gib_month,
    )
