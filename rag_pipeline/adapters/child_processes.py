"""Processes forked from a small server that holds the light parsers and nothing of the application.

A new child costs milliseconds, and no library, thread or secret of the parent is in it.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

_PRELOADED = ["pebble.pool.process", "rag_pipeline.adapters.parsing.child"] + [
    f"rag_pipeline.adapters.parsing.{name}"
    for name in ("delimited", "html", "mail", "markdown", "pdf", "plain_text", "restructuredtext", "source_code")
]
_main_lock = threading.Lock()


class ChildProcess(ForkServerProcess):
    """A child that does not import the program that started it.

    The standard library imports the parent's main module into every child, for functions that are defined there. Here
    none is, and that import is most of a second for a program such as ``dagster``, or a loop for a script without a guard.
    """

    def start(self) -> None:
        with _main_without_origin():
            super().start()


class ChildContext(ForkServerContext):
    """The fork-server context, with children of the kind above."""

    Process = ChildProcess


def child_context() -> ChildContext:
    """A context for the pool. The server starts with the first child; it keeps running until this process ends."""
    context = ChildContext()
    context.set_forkserver_preload(_PRELOADED)
    return context


@contextmanager
def _main_without_origin() -> Iterator[None]:
    """Hides for a moment where the main module came from; without that, nothing can be imported from there."""
    names: dict[str, Any] = vars(sys.modules["__main__"])
    with _main_lock:
        hidden: dict[str, Any] = {name: names.pop(name) for name in ("__file__", "__spec__") if name in names}
        names["__spec__"] = None
        try:
            yield
        finally:
            names.update(hidden)
