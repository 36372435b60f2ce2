"""One index run that dies by SIGKILL at a named call: ``python -m … SETTINGS PLACE CALL before|after LOG``.

What the embedder was asked for goes to LOG, a line each, so that a test can count what was embedded twice.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rag_pipeline.project import Project
from rag_pipeline.schema import Matrix, Vector
from rag_pipeline_tests.fakes.embedder import HashEmbedder
from rag_pipeline_tests.projects import embedder_of, index_once, open_project

PLACES = (
    "document_artifact.append",
    "vector_artifact.append",
    "store.upsert",
    "store.delete",
    "ledger.put_bucket_state",
    "store.switch_alias",
)


class LoggedEmbedder:
    """Writes every text down before another embedder gets it."""

    def __init__(self, inner: HashEmbedder, log: Path) -> None:
        self.dimension = inner.dimension
        self._inner = inner
        self._log = log

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        with self._log.open("a") as log:
            log.writelines(text.replace("\n", " ") + "\n" for text in texts)
        return self._inner.embed_documents(texts)

    def embed_query(self, text: str) -> Vector:
        return self._inner.embed_query(text)

    def describe(self) -> Mapping[str, Any]:
        return self._inner.describe()


def die_at(part: Any, method: str, *, call: int, is_after: bool) -> None:
    """Replaces a method by one that kills this process at its ``call``-th call."""
    original, calls = getattr(part, method), 0

    def dying(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and not is_after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(part, method, dying)


def part_of(project: Project, name: str) -> Any:
    """The ledger, the store, or an artifact of the collection that is filled."""
    parts = project.target_parts()
    return {
        "ledger": project.ledger,
        "store": project.store,
        "document_artifact": parts.documents,
        "vector_artifact": parts.vectors,
    }[name]


def main() -> None:
    settings, place, call, moment, log = sys.argv[1:]
    project = open_project(Path(settings))
    project.models.open = lambda facts, space: LoggedEmbedder(embedder_of(space), Path(log))
    if place != "nowhere":
        part, method = place.split(".")
        die_at(part_of(project, part), method, call=int(call), is_after=moment == "after")
    index_once(project)
    project.close()


if __name__ == "__main__":
    main()
