"""What the project does around scans and looks."""

import time
from pathlib import Path

import pytest

from rag_pipeline import project as projects
from rag_pipeline.indexing.changes import FINE_NS
from rag_pipeline.operations.progress import SILENT
from rag_pipeline_tests.projects import article, fill, open_project, write_settings


def test_what_a_comparison_of_all_records_took_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given_back: list[int] = []
    monkeypatch.setattr(projects, "give_back_free_memory", lambda: given_back.append(1))
    file = write_settings(tmp_path)
    fill(tmp_path / "docs", {"one.md": article("one")})
    time.sleep(2 * FINE_NS / 10**9)  # else the file is as young as the scan, and in doubt
    project = open_project(file)
    project.scan(approve_deletes=False, progress=SILENT)
    assert len(given_back) == 1
    for _ in range(3):  # the first compares, and the others remember
        assert not project.look_for_changes()
    assert len(given_back) == 2
    fill(tmp_path / "docs", {"one.md": article("another")})
    assert project.look_for_changes()
    assert len(given_back) == 3
    project.close()
