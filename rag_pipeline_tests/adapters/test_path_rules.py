from typing import Any

import pytest

from rag_pipeline.adapters.path_rules import PathRules
from rag_pipeline.settings import SourceSettings


def rules(**settings: Any) -> PathRules:
    return PathRules(SourceSettings(name="test", url="docs", **settings))


def takes(path_rules: PathRules, path: str) -> bool:
    """As a walk asks: each folder on the way first."""
    parts = path.split("/")
    folders = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
    if any(path_rules.is_folder_excluded(folder, folder.rpartition("/")[2]) for folder in folders):
        return False
    return path_rules.is_file_included(path, parts[-1])


@pytest.mark.parametrize("path", ["a.txt", ".hidden", "a/b/c.txt", "a/.b/c", "git/config", "x.git", "a\nb.txt", "a/~b.txt"])
def test_the_defaults_take_every_document(path: str) -> None:
    assert takes(rules(), path)


@pytest.mark.parametrize(
    "path", [".git/config", "a/.git/b/c", ".rag/ledger", ".DS_Store", "a/.DS_Store", "~$a.docx", "a/.~lock.b.odt#"]
)
def test_the_defaults_leave_out_what_is_no_document(path: str) -> None:
    assert not takes(rules(), path)


@pytest.mark.parametrize(
    ("include", "path", "is_taken"),
    [
        ("**/*.md", "a.md", True),
        ("**/*.md", "a/b/c.md", True),
        ("**/*.md", "a.mdx", False),
        ("*.md", "a.md", True),
        ("*.md", "a/b.md", False),
        ("docs/**", "docs/a", True),
        ("docs/**", "docs/a/b", True),
        ("docs/**", "other/docs/a", False),
        ("docs/**/*.md", "docs/a.md", True),
        ("docs/**/*.md", "docs/a/b.md", True),
        ("**/*.{md,rst}", "a/b.rst", True),
        ("**/*.{md,rst}", "a/b.txt", False),
        ("**/[0-9]*.txt", "a/1.txt", True),
        ("**/a?.txt", "ab.txt", True),
        ("**/guide/*.md", "x/guide/a.md", True),
        ("**/guide/*.md", "x/guide/y/a.md", False),
        ("**/*.MD", "a.md", False),
        ("**", "a/b", True),
    ],
)
def test_include_patterns(include: str, path: str, is_taken: bool) -> None:
    assert takes(rules(include=(include,), exclude=()), path) is is_taken


@pytest.mark.parametrize(
    ("exclude", "path", "is_taken"),
    [
        ("**/drafts/**", "drafts/a.md", False),
        ("**/drafts/**", "a/drafts/b/c.md", False),
        ("**/drafts/**", "a/drafts", True),
        ("drafts/**", "drafts/a.md", False),
        ("drafts/**", "a/drafts/b.md", True),
        ("**/drafts", "drafts/a.md", False),
        ("**/*.tmp", "a/b.tmp", False),
        ("**/*.tmp", "a.tmp/b.txt", False),
        ("a/b/*.txt", "a/b/c.txt", False),
        ("a/b", "a/b/c.txt", False),
        ("a/*", "a/b/c.txt", False),
        ("a/b/*.txt", "a/b/c.md", True),
        ("a/**/b/**", "a/x/y/b/c", False),
    ],
)
def test_exclude_patterns_win(exclude: str, path: str, is_taken: bool) -> None:
    assert takes(rules(exclude=(exclude,)), path) is is_taken


def test_several_patterns_are_alternatives() -> None:
    path_rules = rules(include=("**/*.md", "src/**/*.py"), exclude=("**/node_modules/**", "src/vendor/**"))
    assert [takes(path_rules, path) for path in ("a.md", "src/x/a.py", "a.py", "node_modules/a.md", "src/vendor/a.py")] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_the_size_limit_is_in_mebibytes() -> None:
    assert rules(max_size_mb=1.5).size_max_bytes == 1_572_864
