"""Writes the tables of docs/scaling.md from the cost model: ``python docs/generate_scaling.py``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rag_pipeline.indexing.cost import Machines, Rates, Work, bill_of, duration_of, space_of

PAGE = Path(__file__).parent / "scaling.md"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
SIZES = (10_000_000, 100_000_000, 1_000_000_000)
TOKENS_A_CHUNK = 230
"""As on 1,699 pages of Debian's documentation."""
GRACE_H = 24.0
NODE_CORES = 16
UPSERT_A_CORE = 5_000
"""Points/s of a server's core, assumed: the engine's own part of a write was 86 microseconds, and it has requests to read."""
MACHINES = Machines(encoder_eur_per_h=3.00, store_node_eur_per_h=1.00, store_node_memory_gib=128, disk_eur_per_gib_month=0.10)


@dataclass(frozen=True, slots=True)
class Case:
    """A model on a kind of device, and how many of them for each size."""

    name: str
    dimension: int
    tokens_per_s: float
    encoders: tuple[int, int, int]
    eur_per_h: float


CASES = (
    Case("MiniLM, two CPU cores, torch bfloat16", 384, 15_000, (8, 64, 512), 0.10),
    Case("MiniLM, two CPU cores, OpenVINO bfloat16", 384, 23_000, (8, 64, 512), 0.10),
    Case("MiniLM-sized, one H100 (assumed)", 384, 6_000_000, (1, 2, 8), 3.00),
    Case("base-sized, one H100 (assumed)", 768, 1_000_000, (1, 4, 32), 3.00),
)


def tables_part() -> str:
    """Both tables, as they stand between the marks."""
    return "\n\n".join([_assumptions(), _space_table(), _switch_table()])


def _assumptions() -> str:
    return (
        f"Assumed: {TOKENS_A_CHUNK} tokens to a chunk; a store node with {NODE_CORES} cores and "
        f"{MACHINES.store_node_memory_gib:g} GiB at "
        f"{MACHINES.store_node_eur_per_h:.2f} €/h; a disk at {MACHINES.disk_eur_per_gib_month:.2f} € a GiB and month; "
        f"two CPU cores at {CASES[0].eur_per_h:.2f} €/h; an H100 at {CASES[-1].eur_per_h:.2f} €/h; {GRACE_H:g} hours of grace."
    )


def _space_table() -> str:
    rows = [["chunks", "dimension", "memory of the store, GiB", "disk, GiB", "store nodes"]]
    for size in SIZES:
        for dimension in (384, 768):
            space, work = space_of(size, dimension), Work(0, size, dimension)
            nodes = bill_of(work, Rates(), MACHINES, grace_h=0).store_nodes
            rows.append(
                [
                    f"{size:,}",
                    str(dimension),
                    f"{space.memory_bytes / 2**30:,.0f}",
                    f"{space.disk_bytes / 2**30:,.0f}",
                    str(nodes),
                ]
            )
    return _markdown(rows)


def _switch_table() -> str:
    rows = [
        [
            "model and device",
            "tokens/s each",
            "chunks",
            "devices",
            "encode, h",
            "upsert, h",
            "graph, h",
            "in all, h",
            "€ a switch",
        ]
    ]
    for case in CASES:
        for size, encoders in zip(SIZES, case.encoders, strict=True):
            rows.append(_switch_row(case, size, encoders))
    return _markdown(rows)


def _switch_row(case: Case, size: int, encoders: int) -> list[str]:
    work = Work(size * TOKENS_A_CHUNK, size, case.dimension)
    nodes = bill_of(work, Rates(), MACHINES, grace_h=0).store_nodes
    cores = nodes * NODE_CORES
    rates = Rates(case.tokens_per_s, encoders, upsert_points_per_s=cores * UPSERT_A_CORE, store_cores=cores)
    machines = Machines(
        case.eur_per_h, MACHINES.store_node_eur_per_h, MACHINES.store_node_memory_gib, MACHINES.disk_eur_per_gib_month
    )
    duration, bill = duration_of(work, rates), bill_of(work, rates, machines, grace_h=GRACE_H)
    hours = (duration.embed_s, duration.upsert_s, duration.graph_s, duration.total_s)
    return [
        case.name,
        f"{case.tokens_per_s:,.0f}",
        f"{size:,}",
        str(encoders),
        *(f"{seconds / 3600:.2f}" for seconds in hours),
        f"{bill.total_eur:,.0f}",
    ]


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> int:
    """The exit code: 1 with ``--check`` when the page is behind the model."""
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    wanted = f"{before}{BEGIN}\n\n{tables_part()}\n\n{END}{after}"
    if "--check" in sys.argv:
        return int(page != wanted)
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
