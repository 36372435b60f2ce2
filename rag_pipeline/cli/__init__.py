"""The ``rag`` command."""

from rag_pipeline.cli import erase_command, pii_commands, quarantine_commands, release_commands
from rag_pipeline.cli.commands import main

__all__ = ["erase_command", "main", "pii_commands", "quarantine_commands", "release_commands"]
