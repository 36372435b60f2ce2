"""The ``rag`` command."""

from rag_pipeline.cli.commands import main

__all__ = ["main"]
