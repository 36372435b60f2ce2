"""A build system for vector indexes: documents in, a Qdrant collection that stays in step out.

Rooms, lowest first: ``schema`` and ``ports`` name things; ``indexing`` and ``retrieval`` hold the pure rules; ``adapters``
talk to one outside system each; ``project`` builds them from ``settings``; ``defs`` and ``definitions`` are Dagster; ``cli``
is the ``rag`` command.
"""

__version__ = "0.1.0"
