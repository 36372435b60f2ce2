"""The clock of the operating system."""

import time


class SystemClock:
    """Port ``Clock`` on the system's time."""

    def now_ns(self) -> int:
        return time.time_ns()
