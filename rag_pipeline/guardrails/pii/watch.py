"""How long a search may go on: rules ask again and again, and the search ends with an error when its time is spent."""

import time
from collections.abc import Callable

from rag_pipeline.errors import ParseLimitError

Watch = Callable[[], None]
"""Called between texts, runs and windows. Raises when the search has to end."""


def unwatched() -> None:
    """A watch without end, for short texts."""


def watch_of(cpu_s: float) -> Watch:
    """A watch that raises ParseLimitError after so many seconds of CPU of this thread, so that a busy machine decides nothing."""
    end = time.thread_time() + cpu_s

    def look() -> None:
        if time.thread_time() > end:
            detail = f"masking took longer than {cpu_s:g} s of CPU; raise pii.cpu_s or split the file"
            raise ParseLimitError(detail, reason="timeout")

    return look
