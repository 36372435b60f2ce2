"""Rules of the house that no linter knows."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rag_pipeline

PACKAGE = Path(rag_pipeline.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
MODULE_LINES, FUNCTION_LINES = 400, 40
CATCHES_ALL = {
    "adapters/parsing/dispatch.py": "in the child process: a library may fail on hostile bytes in any way",
    "adapters/qdrant_edge_store.py": "the engine raises plain Exception",
    "indexing/lanes.py": "carries a failure from one thread to the next",
}
"""The only places that may, and why."""
HEAVY = ("torch", "sentence_transformers", "unstructured", "spacy", "transformers", "matplotlib", "pandas")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_and_functions_are_short(module: Path) -> None:
    text = module.read_text()
    assert len(text.splitlines()) <= MODULE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert _body_lines(node) <= FUNCTION_LINES, node.name


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_catches_everything_without_a_reason(module: Path) -> None:
    for handler in (node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.ExceptHandler)):
        names = set(_names(handler.type))
        assert names, f"bare except in line {handler.lineno}"
        if names & {"Exception", "BaseException"}:
            assert str(module.relative_to(PACKAGE)) in CATCHES_ALL, f"line {handler.lineno}"


def test_defs_have_no_future_annotations() -> None:
    for module in (PACKAGE / "defs").glob("*.py"):
        assert "from __future__ import annotations" not in module.read_text(), module.name


@pytest.mark.parametrize("entry", ["rag_pipeline.cli", "rag_pipeline.project", "rag_pipeline.defs.inventory"])
def test_entries_import_nothing_heavy(entry: str) -> None:
    code = f"import sys, {entry}; print([m for m in {HEAVY!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def _body_lines(node: ast.FunctionDef) -> int:
    first = node.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    start = node.body[1].lineno if is_docstring and len(node.body) > 1 else first.lineno
    return (node.end_lineno or start) - start + 1


def _names(node: ast.expr | None) -> Iterator[str]:
    for part in node.elts if isinstance(node, ast.Tuple) else [node] if node else []:
        yield part.id if isinstance(part, ast.Name) else ast.unparse(part)
