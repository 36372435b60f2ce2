"""Order, budget, and a contestant that fails."""

import time
from collections.abc import Callable

from benchmarks.suite.rounds import Budget, Contestant, ContestantFailedError, Measured, compare


class Diary:
    """Contestants that write down when they ran."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def contestant(self, name: str, *, fails_at: int = 0, takes_s: float = 0.0) -> Contestant:
        def run() -> Measured:
            self.lines.append(name)
            time.sleep(takes_s)
            if self.lines.count(name) == fails_at:
                raise ContestantFailedError(f"{name} fell over")
            return Measured(float(self.lines.count(name)), facts={"round": self.lines.count(name)})

        return Contestant(name, run, warm_up=self._note(f"warm {name}"))

    def _note(self, line: str) -> Callable[[], None]:
        return lambda: self.lines.append(line)


def test_contestants_warm_up_and_then_run_in_the_order_abba() -> None:
    diary = Diary()
    rows = compare([diary.contestant("a"), diary.contestant("b")], Budget(3))
    assert diary.lines == ["warm a", "warm b", "a", "b", "b", "a", "a", "b"]
    assert [row.wall_s for row in rows] == [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]
    assert rows[0].facts == {"round": 3}


def test_one_that_fails_keeps_what_it_had_and_the_others_go_on() -> None:
    diary = Diary()
    bad, good = compare([diary.contestant("bad", fails_at=2), diary.contestant("good")], Budget(4))
    assert bad.failure == "bad fell over"
    assert bad.wall_s == [1.0]
    assert diary.lines.count("bad") == 2
    assert len(good.wall_s) == 4
    assert good.failure is None


def test_no_round_begins_that_would_not_end_in_time() -> None:
    row = compare([Diary().contestant("slow", takes_s=0.1)], Budget(50, seconds=0.35))[0]
    assert 1 <= len(row.wall_s) <= 3


def test_the_first_round_always_runs() -> None:
    assert compare([Diary().contestant("slow", takes_s=0.02)], Budget(5, seconds=0.0))[0].wall_s == [1.0]


def test_a_warm_up_that_fails_is_the_contestants_failure() -> None:
    def fall() -> None:
        raise ContestantFailedError("not installed")

    row = compare([Contestant("peer", lambda: Measured(1.0), warm_up=fall)], Budget(2))[0]
    assert row.failure == "not installed"
    assert row.wall_s == []
