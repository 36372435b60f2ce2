"""How fast a served model is asked, and when not at all: a limit of requests, and a breaker for a server that is down."""

import threading
import time
from collections.abc import Callable

from rag_pipeline.errors import BackendUnavailableError

REST_S = 30.0
"""Seconds in which a server that did not answer after all tries is not asked again: who waits for an answer learns it at once."""


class RequestPace:
    """Spreads requests evenly over a minute. Threads may share it."""

    def __init__(
        self, per_minute: int | None, *, sleep: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval_s = 60 / per_minute if per_minute else 0.0
        self._sleep, self._clock = sleep, clock
        self._lock = threading.Lock()
        self._next_s = 0.0

    def wait(self) -> None:
        """Returns when the next request may go."""
        if not self._interval_s:
            return
        with self._lock:
            now_s = self._clock()
            turn_s = max(now_s, self._next_s)
            self._next_s = turn_s + self._interval_s
        if turn_s > now_s:
            self._sleep(turn_s - now_s)


class Breaker:
    """Open for a while after a server gave no answer to all tries; then one try shows whether it is back."""

    def __init__(self, system: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._system = system
        self._clock = clock
        self._failed_s: float | None = None

    def tries(self, usual: int) -> int:
        """How often a request may be tried now. Raises BackendUnavailableError while the breaker is open."""
        failed_s = self._failed_s  # once, since other threads note how their requests end
        if failed_s is None:
            return usual
        left_s = failed_s + REST_S - self._clock()
        if left_s > 0:
            raise BackendUnavailableError(
                f"did not answer a moment ago and is not asked again for {left_s:.0f} s; see that the server is up",
                system=self._system,
            )
        return 1

    def note(self, *, is_up: bool) -> None:
        """To be told how a request ended."""
        self._failed_s = None if is_up else self._clock()
