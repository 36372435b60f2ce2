"""The ``rag`` command."""

from rag_pipeline.cli import release_commands
from rag_pipeline.cli.commands import main

__all__ = ["main", "release_commands"]
