"""Clocks that jump and times of change that lie: no edit is missed, and nothing live is dropped."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_pipeline.adapters import sql_ledger
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.operations.reindex import reindex
from rag_pipeline.operations.release import release, roll_back
from rag_pipeline.operations.retention import retain
from rag_pipeline.project import Project
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.projects import article, fill, index_once, open_project, write_settings
from rag_pipeline_tests.round_trip.histories import (
    BASE,
    LENIENT,
    QUESTION,
    FreshBuilds,
    MovedClock,
    assert_equal,
    move_clock,
    points_of,
    quick_gate,
    read_files,
    set_times,
    share_model,
    twin,
)

NAMES = ["one.md", "two.md", "a/three.md"]
TEXTS = [text for length in (1, 2) for text in (article("apples", length), twin(article("apples", length)))]
BUILDS = FreshBuilds(dict.fromkeys(NAMES, TEXTS))
HOUR_NS = 3_600 * 10**9
DAY_NS = 24 * HOUR_NS
WINTER_TIME_NS = 1_761_440_400 * 10**9
"""2025-10-26 01:00 UTC: in Berlin the clock goes from 3:00 back to 2:00."""
TIMES: dict[str, Callable[[int, int], int]] = {
    "now": lambda before_ns, now_ns: now_ns,
    "equal": lambda before_ns, now_ns: before_ns,
    "backwards": lambda before_ns, now_ns: before_ns - DAY_NS,
    "in the future": lambda before_ns, now_ns: now_ns + DAY_NS,
    "an hour earlier": lambda before_ns, now_ns: before_ns - HOUR_NS,
    "an hour later": lambda before_ns, now_ns: before_ns + HOUR_NS,
    "whole seconds": lambda before_ns, now_ns: now_ns // 10**9 * 10**9,
    "2:30 in summer": lambda before_ns, now_ns: WINTER_TIME_NS - HOUR_NS // 2,
    "2:30 in winter": lambda before_ns, now_ns: WINTER_TIME_NS + HOUR_NS // 2,
    "zero": lambda before_ns, now_ns: 0,
}
"""What a changed file says of when it was changed, by what it said before and the time now."""
EDITS = st.tuples(
    st.sampled_from(NAMES),
    st.sampled_from(["twin", *range(len(TEXTS)), "delete"]),
    st.sampled_from(list(TIMES)),
)
STEPS = st.lists(
    st.tuples(
        st.lists(EDITS, min_size=1, max_size=2),
        st.sampled_from([0, 24, -24, 1, -1]),
        st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
    ),
    min_size=2,
    max_size=5,
)
WORKS = st.lists(
    st.tuples(st.sampled_from(["switch", "roll_back", "retain", "retain", "index"]), st.sampled_from([0, 12, 25, 49, -25, -49])),
    min_size=3,
    max_size=6,
)


@contextmanager
def new_project(clock: MovedClock, **changes: Any) -> Iterator[Project]:
    """A project that lives by this clock, its ledger included."""
    folder = Path(tempfile.mkdtemp(prefix="clock-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sql_ledger, "time", SimpleNamespace(time_ns=clock.now_ns))
        fill(folder / "docs", dict.fromkeys(NAMES, TEXTS[0]))
        project = opened(write_settings(folder, **BASE, **changes), clock)
        try:
            yield project
        finally:
            project.close()
            shutil.rmtree(folder)


def opened(file: Path, clock: MovedClock, **parts: Any) -> Project:
    project = open_project(file, parser=FakeParser(), **parts)
    share_model(project)
    move_clock(project, clock)
    return project


@contextmanager
def zone(name: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", name)
        time.tzset()
        yield
    time.tzset()


def edit(file: Path, what: str | int, says: str) -> None:
    if what == "delete":
        file.unlink(missing_ok=True)
        return
    before = (file.stat().st_mtime_ns, file.read_text()) if file.exists() else (time.time_ns(), TEXTS[0])
    fill(file.parent, {file.name: twin(before[1]) if what == "twin" else TEXTS[int(what)]})
    set_times(file, TIMES[says](before[0], time.time_ns()))


def missed_edits(steps: list[tuple[list[tuple[str, str | int, str]], float, str]]) -> None:
    clock = MovedClock()
    with new_project(clock) as project:
        docs = project.settings.root / "docs"
        index_once(project)
        for edits, hours, place in steps:
            clock.hours = hours
            for name, what, says in edits:
                edit(docs / name, what, says)
            with zone(place):
                index_once(project)
            assert_equal(points_of(project, project.target.name), BUILDS.of({}, read_files(docs)))


def keeps_what_is_live(works: list[tuple[str, float]]) -> None:
    clock, models = MovedClock(), [{}, {"dimension": 128}]
    with quick_gate(), new_project(clock, release=LENIENT) as project:
        index_once(project)
        is_second, store = False, project.store
        for work, hours in works:
            clock.hours = hours
            if work == "switch":
                is_second = not is_second
                changes = {**BASE, "release": LENIENT, "embedding": models[is_second]}
                project = opened(write_settings(project.settings.root, **changes), clock, store=store)
                reindex(project, project.buckets, force=True, progress=SILENT)
                release(project, approve=True, by="test", progress=SILENT)
            elif work == "roll_back" and project.collections().retired:
                roll_back(project, reason="test", by="test", progress=SILENT)
            elif work == "retain":
                look_at_retention(project)
            index_once(project)
            live = store.resolve_alias("docs")
            assert live in store.collections()
            assert project.searcher().search(QUESTION, limit=3)


def look_at_retention(project: Project) -> None:
    live, now_ns = project.store.resolve_alias("docs"), project.clock.now_ns()
    ended_ns = {record.name: record.changed_ns for record in project.ledger.collections("docs")}
    retained = retain(project)
    assert live not in retained.dropped
    early = [name for name in retained.dropped if ended_ns[name] + DAY_NS > now_ns + 10**9]
    assert not early, f"dropped within their grace time: {early}"


def settings_of(number: int) -> settings:
    return settings(max_examples=number, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@settings_of(6)
@given(STEPS)
def test_no_edit_is_missed(steps: Any) -> None:
    missed_edits(steps)


@settings_of(3)
@given(WORKS)
def test_what_is_live_stays(works: Any) -> None:
    keeps_what_is_live(works)


@pytest.mark.deep
@settings_of(100)
@given(STEPS)
def test_no_edit_is_missed_in_a_hundred_histories(steps: Any) -> None:
    missed_edits(steps)


@pytest.mark.deep
@settings_of(25)
@given(WORKS)
def test_what_is_live_stays_in_many_histories(works: Any) -> None:
    keeps_what_is_live(works)


def test_zones_are_there() -> None:
    """Without zone data the histories above would all be in UTC."""
    with zone("Europe/Berlin"):
        assert time.localtime(WINTER_TIME_NS // 10**9 - 1).tm_isdst == 1
        assert time.localtime(WINTER_TIME_NS // 10**9 + 1).tm_isdst == 0
    assert os.environ.get("TZ") != "Europe/Berlin"
