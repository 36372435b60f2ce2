"""Every kind of damage is found, named, and repaired; a sound index is clean."""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rag_pipeline.operations.progress import SILENT
from rag_pipeline.project import Project
from rag_pipeline.schema import Point, SparseVector, StoredPoint
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.projects import article, check, dump, fill, go_on, open_project, write_settings


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    file = write_settings(tmp_path, buckets=2)
    fill(tmp_path / "docs", {f"topic{i}.md": article(f"topic{i}") for i in range(3)})
    project = open_project(file, parser=FakeParser())
    go_on(project)
    yield project
    project.close()


def first(project: Project) -> StoredPoint:
    return next(iter(sorted(project.store.scroll(project.target.name, with_vectors=True), key=lambda point: point.id)))


def write(project: Project, point: StoredPoint) -> None:
    assert point.vector is not None
    assert point.sparse is not None
    project.store.upsert(project.target.name, [Point(point.id, point.vector, point.sparse, point.payload)])


def lose(project: Project) -> None:
    project.store.delete(project.target.name, [first(project).id])


def add_phantom(project: Project) -> None:
    write(project, replace(first(project), id="00000000-0000-4000-8000-000000000000"))


def add_stranger(project: Project) -> None:
    point = first(project)
    write(project, replace(point, id="00000000-0000-4000-8000-000000000001", payload={**point.payload, "bucket": "zz"}))


def change_text(project: Project) -> None:
    point = first(project)
    write(project, replace(point, payload={**point.payload, "text": "something else"}))


def drop_key(project: Project) -> None:
    point = first(project)
    write(project, replace(point, payload={key: value for key, value in point.payload.items() if key != "uri"}))


def change_vector(project: Project) -> None:
    point = first(project)
    assert point.vector is not None
    write(project, replace(point, vector=np.roll(point.vector, 1)))


def change_sparse(project: Project) -> None:
    write(project, replace(first(project), sparse=project.sparse.encode_documents(["some words"])[0]))


def drop_weight(project: Project) -> None:
    point = first(project)
    assert point.sparse is not None
    write(project, replace(point, sparse=SparseVector(point.sparse.indices[1:], point.sparse.values[1:])))


DAMAGE: list[tuple[str, Callable[[Project], None]]] = [
    ("missing", lose),
    ("phantom", add_phantom),
    ("phantom", add_stranger),
    ("payload", change_text),
    ("payload_keys", drop_key),
    ("vector", change_vector),
    ("sparse", change_sparse),
    ("sparse", drop_weight),
]


def test_sound_index_is_clean(project: Project) -> None:
    report = check(project)
    assert report.findings == []
    assert (report.documents, report.points) == (3, len(dump(project)))


@pytest.mark.parametrize(("kind", "damage"), DAMAGE, ids=[f"{kind}-{damage.__name__}" for kind, damage in DAMAGE])
def test_damage_is_found_and_repaired(project: Project, kind: str, damage: Callable[[Project], None]) -> None:
    before = dump(project)
    damage(project)
    report = check(project)
    assert kind in report.by_kind()
    project.target_parts().fsck().repair(report)
    go_on(project)
    assert check(project).findings == []
    assert dump(project) == before


def test_lost_artifacts_are_found_and_made_again(project: Project, tmp_path: Path) -> None:
    before = dump(project)
    for file in (tmp_path / ".rag" / "artifacts" / "embeddings").rglob("*.parquet"):
        file.unlink()
    assert set(check(project).by_kind()) == {"vector_artifact"}
    project.target_parts().fsck().repair(check(project))
    go_on(project)
    assert check(project).findings == []
    assert dump(project) == before


def test_alias_that_points_nowhere_is_found(project: Project, tmp_path: Path) -> None:
    project.close()
    for file in (tmp_path / ".rag" / "qdrant").rglob("*alias*"):
        if file.is_file():
            file.unlink()
    assert "alias" in check(open_project(tmp_path / "rag_pipeline.yaml", parser=FakeParser())).by_kind()


def test_edit_that_no_run_has_seen_is_out_of_step_after_its_scan(project: Project) -> None:
    fill(project.settings.root / "docs", {"topic0.md": article("topic0 again")})
    project.scan(approve_deletes=False, progress=SILENT)
    assert {"out_of_step", "stale"} <= set(check(project).by_kind())


def test_lost_ledger_is_rebuilt_from_the_sources(project: Project, tmp_path: Path) -> None:
    before = dump(project)
    project.close()
    with sqlite3.connect(tmp_path / ".rag" / "ledger.sqlite") as ledger:
        for (table,) in ledger.execute("select name from sqlite_master where type = 'table'").fetchall():
            if not table.startswith("sqlite_") and table != "rag_meta":
                ledger.execute(f"delete from {table}")
    again = open_project(tmp_path / "rag_pipeline.yaml", parser=FakeParser())
    report = go_on(again)
    assert (report.embedded, report.upserted, report.deleted) == (0, 0, 0)
    assert dump(again) == before
    assert check(again).findings == []
    again.close()
