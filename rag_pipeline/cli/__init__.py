"""The ``rag`` command."""

from rag_pipeline.cli import pii_commands, release_commands
from rag_pipeline.cli.commands import main

__all__ = ["main", "pii_commands", "release_commands"]
