"""Results through JSON and into tables and the page."""

import json
from pathlib import Path

import pytest

from benchmarks.suite.plots import draw
from benchmarks.suite.report import BEGIN, END, page_part, replace_part, show, table, write_page
from benchmarks.suite.results import OURS, Row, ScenarioResult, load, save, scenario_order

FIVE = [2.0, 2.0, 2.1, 1.9, 2.0]


def result(key: str = "s1") -> ScenarioResult:
    rows = [
        Row(OURS, "", FIVE, [1.0] * 5, {"points": 1234, "same_answers": True, "stages_s": {"documents": 1}}),
        Row("Peer", "documented", [8.0, 8.0, 8.0, 8.0, 8.0], [7.0] * 5),
        Row("Peer", "tuned", [3.0, 9.0], [1.0, 1.0]),
        Row("Other", "documented", failure="not installed"),
    ]
    machine = {
        "date": "2026-11-27",
        "device": "a processor",
        "cores": 2,
        "load": 0.1,
        "system": "Linux",
        "versions": {"torch": "2"},
    }
    return ScenarioResult(key, "First index", {"pages": 12}, rows, {"chunks": 1234}, ["a note"], machine=machine)


def test_a_result_survives_its_json(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    save(file, {"s1": result()})
    assert load(file) == {"s1": result()}


def test_the_json_has_the_medians_and_ratios_beside_the_raw_values(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    save(file, {"s1": result()})
    rows = json.loads(file.read_text())["scenarios"]["s1"]["rows"]
    assert rows[0]["summary"]["wall_s"] == {"median": 2.0, "min": 1.9, "max": 2.1, "n": 5}
    assert rows[1]["summary"]["times_ours"]["median"] == 4.0
    assert rows[2]["summary"]["mark"] == "noisy"
    assert rows[3]["summary"] == {}


def test_no_file_is_no_result(tmp_path: Path) -> None:
    assert load(tmp_path / "none.json") == {}


def test_scenarios_are_ordered_by_number() -> None:
    assert sorted(["s10", "s2", "memory", "s6-pdf", "s6"], key=scenario_order) == ["s2", "s6", "s6-pdf", "s10", "memory"]


def test_a_table_shows_ratio_mark_and_failure() -> None:
    lines = table(result())
    assert lines[0] == (OURS, "2.00 (1.90-2.10)", "5", "", "1", "points 1,234, same answers yes")
    assert lines[1][:4] == ("Peer, documented", "8.00 (8.00-8.00)", "5", "4.00 (3.81-4.21)")
    assert lines[2][1].endswith("noisy")
    assert lines[3][1] == "did not run: not installed"


def test_only_what_is_between_the_marks_is_replaced() -> None:
    page = f"# By hand\n\n{BEGIN}\nold\n{END}\n\nalso by hand\n"
    assert replace_part(page, "new") == f"# By hand\n\n{BEGIN}\n\nnew\n\n{END}\n\nalso by hand\n"
    with pytest.raises(ValueError, match="lacks"):
        replace_part("# No marks\n", "new")


def test_a_scenario_that_did_not_run_stands_in_the_page_with_its_reason() -> None:
    assert "- did not run: no PDF" in page_part({"s6-pdf": ScenarioResult("s6-pdf", "PDF", failure="no PDF")}, {})


def test_the_page_has_table_plot_note_and_machine(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"# Performance\n\n{BEGIN}\n{END}\n")
    write_page(page, {"s1": result()})
    text = page.read_text()
    assert "### S1: First index" in text
    assert "![First index](images/performance-s1.png)" in text
    assert "- a note" in text
    assert "a processor, 2 cores" in text
    assert (tmp_path / "images" / "performance-s1.png").read_bytes().startswith(b"\x89PNG")


def test_figures_of_a_fact_are_a_table_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {"edge": {"points_per_s": 4600, "recall": 1.0, "peak_mib": None}, "chunks": 7, "stages_s": {"documents": 1}}
    stored = ScenarioResult("s9", "The store alone", facts=facts)
    assert "| edge |  |\n| --- | --- |\n| points per s | 4,600 |\n| recall | 1.0 |\n\n- chunks 7" in page_part({"s9": stored}, {})
    show(stored)
    told = capsys.readouterr().out
    assert "points per s │ 4,600" in told
    assert "chunks 7" in told


def test_one_bar_is_no_plot(tmp_path: Path) -> None:
    alone = ScenarioResult("s5", "Kill", rows=[Row(OURS, "", FIVE)])
    assert not draw(alone, tmp_path / "plot.png")
    assert not (tmp_path / "plot.png").exists()
