"""The cost model: arithmetic that a reader can repeat, and the page that quotes it."""

from dataclasses import replace
from pathlib import Path

import pytest

from docs.generate_scaling import tables_part
from rag_pipeline.indexing.cost import Bill, Machines, Rates, Work, bill_of, duration_of, space_of, store_nodes

WORK = Work(tokens=3_600_000, points=15_000, dimension=384)
RATES = Rates(tokens_per_s=1_000, encoders=1, upsert_points_per_s=1_500, store_cores=2)
MACHINES = Machines(encoder_eur_per_h=2.0, store_node_eur_per_h=0.5, store_node_memory_gib=1.0, disk_eur_per_gib_month=0.1)


def test_stages_take_their_work_over_their_rate() -> None:
    duration = duration_of(WORK, RATES)
    assert duration.embed_s == 3_600
    assert duration.upsert_s == 10
    assert duration.graph_s == pytest.approx(15_000 * 1.0 / 1_000 / 2)


def test_encoder_and_upsert_run_side_by_side_and_the_graph_comes_after() -> None:
    assert duration_of(WORK, RATES).total_s == 3_600 + 7.5
    many = replace(RATES, encoders=1_000)
    assert duration_of(WORK, many).total_s == 10 + 7.5


def test_the_graph_grows_with_the_dimension() -> None:
    wide = duration_of(replace(WORK, dimension=768), RATES)
    assert wide.graph_s == 2 * duration_of(WORK, RATES).graph_s


def test_space_is_vectors_graph_indexes_artifact_and_payload() -> None:
    space = space_of(1_000, 384)
    vectors = 1_000 * 384 * 4
    assert space.memory_bytes == 1.5 * vectors + 1_000 * 2_200
    assert space.disk_bytes == 2.5 * vectors + 1_000 * 3_000
    on_disk = space_of(1_000, 384, indexes_on_disk=True)
    assert (on_disk.memory_bytes, on_disk.disk_bytes) == (1.5 * vectors + 1_000 * 300, space.disk_bytes)


@pytest.mark.parametrize(("points", "nodes"), [(0, 1), (1, 1), (10_000_000, 53)])
def test_nodes_hold_vectors_graph_and_indexes_with_a_fifth_to_spare(points: int, nodes: int) -> None:
    assert store_nodes(space_of(points, 384), 1.0) == nodes


def test_a_bill_is_encoders_while_they_work_and_the_second_collection_until_the_grace_time_ends() -> None:
    bill = bill_of(WORK, RATES, MACHINES, grace_h=24)
    assert bill.encoder_eur == pytest.approx(2.0)
    stands_h = 24 + 3_607.5 / 3_600
    assert bill.store_eur == pytest.approx(stands_h * 0.5)
    assert bill.disk_eur == pytest.approx(space_of(15_000, 384).disk_bytes / 2**30 * stands_h / 730 * 0.1)
    assert bill.total_eur == pytest.approx(bill.encoder_eur + bill.store_eur + bill.disk_eur)


def test_more_encoders_cost_the_same_and_end_sooner() -> None:
    one, four = (bill_of(WORK, replace(RATES, encoders=encoders), MACHINES, grace_h=0) for encoders in (1, 4))
    assert isinstance(one, Bill)
    assert four.encoder_eur == pytest.approx(one.encoder_eur)
    assert four.hours < one.hours / 3.5


def test_the_page_holds_what_the_model_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
    assert tables_part() in page, "run python docs/generate_scaling.py"
