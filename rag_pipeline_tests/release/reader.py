"""Another program that asks, again and again, and opens the index anew for each question: ``python -m ... FILE STOP``.

Writes a line for every question: seconds, what was asked for, ids and addresses of the hits, or the error.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from rag_pipeline.errors import RagPipelineError
from rag_pipeline_tests.release.flows import open_quick, story

QUESTIONS = 6


def ask(file: Path, number: int) -> dict[str, Any]:
    """What one question found."""
    project = open_quick(file)
    try:
        hits = project.searcher().search(title_of(number), limit=3)
        return {"wanted": f"report{number}.md", "ids": [hit.id for hit in hits], "paths": [hit.payload["path"] for hit in hits]}
    except RagPipelineError as error:
        return {"wanted": f"report{number}.md", "error": str(error)}
    finally:
        project.close()


def title_of(number: int) -> str:
    """The title of a document, which no other one has."""
    return story(number).splitlines()[0].split(": ")[1]


def main(file: Path, stop: Path) -> None:
    """Asks until the file ``stop`` is there."""
    turn = 0
    while not stop.exists():
        started_s = time.monotonic()
        answer = ask(file, turn % QUESTIONS)
        print(json.dumps({**answer, "seconds": time.monotonic() - started_s}), flush=True)
        time.sleep(0.05)
        turn += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
