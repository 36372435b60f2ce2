"""Made documents and what happens to them."""

from pathlib import Path

import pytest

from benchmarks.suite.corpus import change_files, copy_pages, find_pages, make_small_files
from benchmarks.suite.rounds import ContestantFailedError


def texts(folder: Path) -> dict[str, str]:
    return {file.relative_to(folder).as_posix(): file.read_text() for file in folder.rglob("*") if file.is_file()}


def test_the_same_seed_makes_the_same_different_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_small_files(tmp_path / name, 250, seed=3)
    made = texts(tmp_path / "one")
    assert made == texts(tmp_path / "two")
    assert len(set(made.values())) == 250


def test_changes_are_shares_of_the_documents(tmp_path: Path) -> None:
    files = make_small_files(tmp_path, 2_000, seed=1)
    before = texts(tmp_path)
    changes = change_files(files, seed=1)
    after = texts(tmp_path)
    assert (changes.edited, changes.deleted, changes.moved) == (20, 2, 2)
    assert len(after) == 1_998
    assert sum(before.get(name) != text for name, text in after.items()) == 22


def test_a_small_corpus_has_one_of_each_change(tmp_path: Path) -> None:
    changes = change_files(make_small_files(tmp_path, 4, seed=1), seed=1)
    assert (changes.edited, changes.deleted, changes.moved) == (1, 1, 1)


def test_pages_are_taken_evenly(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"{number}.html").write_text("<p>text")
    assert [page.stem for page in find_pages(tmp_path, 5)] == ["0", "2", "4", "6", "8"]
    assert [page.read_text() for page in copy_pages(tmp_path / "copy", tmp_path, 2)] == ["<p>text"] * 2


def test_no_pages_are_a_reason(tmp_path: Path) -> None:
    with pytest.raises(ContestantFailedError, match=r"no \.html pages"):
        find_pages(tmp_path, 5)
