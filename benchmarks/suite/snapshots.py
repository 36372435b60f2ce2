"""States that are put back before each repetition, so that every one starts alike."""

import shutil
from pathlib import Path


def keep(state: Path) -> Path:
    """A copy of a folder beside it."""
    kept = state.with_name(f"{state.name}.kept")
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(state, kept, symlinks=True)
    return kept


def put_back(state: Path) -> None:
    """The folder as it was when it was kept."""
    shutil.rmtree(state, ignore_errors=True)
    shutil.copytree(state.with_name(f"{state.name}.kept"), state, symlinks=True)
