"""The law, with releases: any history of files, settings, switches and deaths ends in the index that a fresh build makes.

``RAG_HISTORIES`` says how many histories the deep test tries, and that they are others each time (``make histories``).
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from rag_pipeline.errors import ReleaseBlockedError
from rag_pipeline.indexing.build import BuildReport
from rag_pipeline.operations.progress import SILENT
from rag_pipeline.operations.reindex import reindex
from rag_pipeline.operations.release import release, roll_back
from rag_pipeline.operations.retention import retain
from rag_pipeline.project import Project
from rag_pipeline_tests.projects import article, fill, index_once, write_settings
from rag_pipeline_tests.round_trip.histories import (
    BASE,
    QUESTION,
    Crash,
    Crasher,
    CrashError,
    MovedClock,
    Specs,
    assert_equal,
    assert_rest,
    assert_whole,
    build_fresh,
    edit_unseen,
    is_bad,
    points_of,
    quick_gate,
    read_files,
    set_times,
    watched_project,
)
from rag_pipeline_tests.round_trip.history_choices import (
    AGES_NS,
    ANY_CRASH,
    BAD_NAMES,
    CRASHES,
    FRESH_BUILDS,
    GOOD_NAMES,
    LENGTHS,
    NAMES,
    ORDERS,
    SETTINGS,
    TEXTS,
    TOPICS,
    changes_of,
)

FORESEEN = ("refused before", "was refused:", "are not built yet", "there is no retired collection")
"""What may speak against a reindex, a release or a rollback in a history; anything else is a fault."""
STEPS = 12


class ReleaseHistories(RuleBasedStateMachine):
    """Changes files and settings, indexes, switches, goes back, drops, and dies at any of that."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="history-"))
        self.docs = self.folder / "docs"
        self.clock = MovedClock()
        self.specs = Specs(FRESH_BUILDS)
        self.deleted: dict[str, tuple[str, int]] = {}
        self.were_good: set[str] = set()
        self.served: set[str] = set()
        self.is_fresh = False
        """Whether the live collection has everything that the sources have."""
        self.can_go_back = False
        self.crasher = Crasher(self._look)
        self.project: Project | None = None

    # --- files ---

    @initialize(settings=SETTINGS, topic=TOPICS, number=st.integers(0, 4), is_rebuilt=st.sampled_from([False] * 9 + [True]))
    def begin(self, settings: dict[str, Any], topic: str, number: int, is_rebuilt: bool) -> None:
        self.is_rebuilt = is_rebuilt
        self._configure(settings)
        fill(self.docs, {name: article(topic, LENGTHS[i % 2]) for i, name in enumerate(GOOD_NAMES[:number])})
        if number:
            self._work("index", None)

    @rule(name=NAMES, topic=TOPICS, paragraphs=st.sampled_from(LENGTHS), age_ns=AGES_NS)
    def write(self, name: str, topic: str, paragraphs: int, age_ns: int) -> None:
        fill(self.docs, {name: article(topic, paragraphs)})
        set_times(self.docs / name, self.clock.now_ns() - age_ns)
        self.is_fresh = False

    @rule(name=NAMES)
    def edit_unseen(self, name: str) -> None:
        if (self.docs / name).exists():
            edit_unseen(self.docs / name)
            self.is_fresh = False

    @rule(name=NAMES, new_name=NAMES)
    def rename(self, name: str, new_name: str) -> None:
        if (self.docs / name).exists():
            (self.docs / new_name).parent.mkdir(parents=True, exist_ok=True)
            (self.docs / name).replace(self.docs / new_name)
            self.is_fresh = False

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        file = self.docs / name
        if file.exists():
            self.deleted[name] = (file.read_text(), file.stat().st_mtime_ns)
            file.unlink()
            self.is_fresh = False

    @rule(name=NAMES)
    def restore(self, name: str) -> None:
        if name in self.deleted:
            text, modified_ns = self.deleted.pop(name)
            fill(self.docs, {name: text})
            set_times(self.docs / name, modified_ns)
            self.is_fresh = False

    @rule(name=NAMES)
    def touch(self, name: str) -> None:
        if (self.docs / name).exists():
            (self.docs / name).touch()

    @rule(name=st.sampled_from(BAD_NAMES), is_mended=st.booleans(), topic=TOPICS)
    def write_bad(self, name: str, is_mended: bool, topic: str) -> None:
        """A file that no parser takes, until somebody mends it. One that was good keeps its last good version: not here."""
        if is_mended or name in self.were_good:
            self.were_good.add(name)
            fill(self.docs, {name: article(topic, 3)})
        else:
            fill(self.docs, {name: f"\0{topic}"})
        self.is_fresh = False

    @rule()
    def delete_bad(self) -> None:
        for name in BAD_NAMES:
            (self.docs / name).unlink(missing_ok=True)
        self.is_fresh = False

    # --- settings and time ---

    @rule(settings=SETTINGS)
    def configure(self, settings: dict[str, Any]) -> None:
        self._configure(settings)

    @rule(hours=st.sampled_from([0, 12, 25, -25]))
    def move_clock(self, hours: float) -> None:
        self.clock.hours = hours

    @rule()
    def reopen(self) -> None:
        self._close()

    # --- work ---

    @rule(order=ORDERS, name=NAMES, topic=TOPICS)
    def work(self, order: tuple[str, Crash | None], name: str, topic: str) -> None:
        self.write(name, topic, 3, 0)
        self._work(*order)

    @rule(crash=CRASHES["index"])
    def index(self, crash: Crash | None) -> None:
        self._work("index", crash)

    @rule()
    def index_twice(self) -> None:
        self._work("index", None)
        project = self._open()
        scan, report = index_once(project)
        assert not scan.has_changes
        assert _done(report) == {"parsed": 0, "chunked": 0, "embedded": 0, "upserted": 0, "deleted": 0}

    @precondition(lambda self: self.served)
    @rule(settings=SETTINGS, name=NAMES, topic=TOPICS, crash=ANY_CRASH, ends=st.sampled_from(["", "roll_back", "retain"]))
    def move_on(self, settings: dict[str, Any], name: str, topic: str, crash: Crash | None, ends: str) -> None:
        """What an operator does: other settings, built while a document changes, released, and perhaps regretted."""
        self._configure(settings)
        self._work("reindex_forced", crash)
        self.write(name, topic, 3, 0)
        self._work("release", crash)
        if ends:
            self.delete(name)
            self.clock.hours = 25 if ends == "retain" else 0
            self._work(ends, crash)

    @precondition(lambda self: self.can_go_back)
    @rule(name=NAMES, crash=CRASHES["roll_back"])
    def go_back(self, name: str, crash: Crash | None) -> None:
        self.delete(name)
        self._work("roll_back", crash)

    def teardown(self) -> None:
        try:
            if self.project is not None and self.is_rebuilt:
                self._compare_whole()
        finally:
            self._close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _compare_whole(self) -> None:
        """One more run; what is live then equals one fresh build of all files at once."""
        self._work("index", None)
        project = self._open()
        chosen = project.collections()
        good = {path: text for path, text in read_files(self.docs).items() if not is_bad(text)}
        assert_equal(points_of(project, chosen.target.name), build_fresh(self.specs.changes_of(chosen.target_spec), good))

    # --- how work is done and looked at ---

    def _configure(self, changes: dict[str, Any]) -> None:
        self.file = write_settings(self.folder, **{**BASE, **changes})
        # The store stays open: opening it takes longer than anything else here.
        self.project = self._project(store=self.project.store) if self.project else None
        self.is_fresh = False
        self.specs.note(self._open().spec, changes)

    def _project(self, **parts: Any) -> Project:
        return watched_project(self.file, self.crasher, clock=self.clock, **parts)

    def _open(self) -> Project:
        if self.project is None:
            self.project = self._project()
        return self.project

    def _close(self) -> None:
        if self.project is not None:
            self.project.close()
            self.project = None

    def _work(self, name: str, crash: Crash | None) -> None:
        project = self._open()
        self.crasher.arm(crash if crash and crash.work == name else None)
        try:
            WORK[name](self, project)
        except CrashError:
            self.is_fresh = False
            self._close()
        except ReleaseBlockedError as error:
            if not self._is_foreseen(name, str(error)):
                raise
            self.is_fresh = False
        self.crasher.arm(None)
        self._look("at rest")
        self.served = self._live_uris()
        self.can_go_back = bool(self._open().collections().retired)

    def _is_foreseen(self, work: str, message: str) -> bool:
        if work == "release" and not self.served and "out of step, 0 allowed; run rag index" in message:
            return True  # nothing was ever indexed
        return any(words in message for words in FORESEEN) and "fsck" not in message

    def _live_uris(self) -> set[str]:
        store = self._open().store
        live = store.resolve_alias("docs")
        return {str(point.payload["uri"]) for point in store.scroll(live)} if live else set()

    def _look(self, place: str) -> None:
        """A reader's question at this moment: answered, and no document without its old or its new points."""
        project = self._open()
        if project.store.resolve_alias("docs") is None:
            assert not self.served, f"{place}: nothing is live any more"
            return
        hits, present = project.searcher().search(QUESTION, limit=3), self._live_uris()
        assert bool(hits) == bool(present), f"{place}: {len(hits)} hits of {len(present)} documents"
        lost = {uri for uri in self.served - present if (self.folder / uri).exists()}
        assert not lost, f"{place}: {lost} were served and are gone"

    def assert_rest(self, *, is_indexed: bool = True) -> None:
        assert_rest(self._open(), self.specs, read_files(self.docs), is_indexed=is_indexed)


def _index(history: ReleaseHistories, project: Project) -> None:
    index_once(project)
    history.is_fresh = True
    history.assert_rest()


def _reindex(history: ReleaseHistories, project: Project, *, force: bool = False, buckets: slice = slice(None)) -> None:
    is_first = project.store.resolve_alias("docs") is None
    parsed = len(project.parser.parsed)  # type: ignore[attr-defined]
    report = reindex(project, project.buckets[buckets], force=force, progress=SILENT)
    if history.is_fresh:
        assert len(project.parser.parsed) == parsed, "a reindex parsed"  # type: ignore[attr-defined]
    if report.candidate is None or is_first:
        return
    history.is_fresh = True  # live followed the sources
    history.assert_rest()
    if report.is_complete:
        wanted = history.specs.fresh(project.spec, read_files(history.docs))
        assert_whole(project, report.candidate, project.spec, is_live=False, wanted=wanted)


def _release(history: ReleaseHistories, project: Project) -> None:
    done = release(project, approve=True, by="test", progress=SILENT)
    assert project.store.resolve_alias("docs") == done.collection
    if done.is_switched and done.previous is not None:
        history.is_fresh = True
        history.assert_rest()


def _roll_back(history: ReleaseHistories, project: Project) -> None:
    left = project.store.resolve_alias("docs")
    done = roll_back(project, reason="test", by="test", progress=SILENT)
    assert project.store.resolve_alias("docs") == done.collection != left
    history.assert_rest(is_indexed=False)


def _retain(history: ReleaseHistories, project: Project) -> None:
    live, retired = project.store.resolve_alias("docs"), project.collections().retired
    retained = retain(project)
    assert live not in retained.dropped
    assert live is None or live in project.store.collections()
    is_over = project.clock.now_ns() >= max((r.changed_ns for r in retired), default=0) + int(24 * 3.6e12)
    assert is_over or not {record.name for record in retired} & set(retained.dropped)


WORK: dict[str, Callable[[ReleaseHistories, Project], None]] = {
    "index": _index,
    "reindex": _reindex,
    "reindex_forced": lambda history, project: _reindex(history, project, force=True),
    "reindex_some": lambda history, project: _reindex(history, project, buckets=slice(1)),
    "release": _release,
    "roll_back": _roll_back,
    "retain": _retain,
}


def _done(report: BuildReport) -> dict[str, int]:
    return {name: getattr(report, name) for name in ("parsed", "chunked", "embedded", "upserted", "deleted")}


def _try(number: int, *, steps: int = STEPS, is_random: bool = False) -> None:
    options = settings(
        max_examples=number,
        stateful_step_count=steps,
        deadline=None,
        derandomize=not is_random,
        database=None,
        phases=[Phase.generate],  # to make a failing history shorter takes longer than to read it
        suppress_health_check=list(HealthCheck),
    )
    with quick_gate():
        run_state_machine_as_test(ReleaseHistories, settings=options)


def test_ten_histories() -> None:
    _try(10, steps=5)


@pytest.mark.deep
def test_histories() -> None:
    number = os.environ.get("RAG_HISTORIES")
    _try(int(number or 200), is_random=number is not None)


# --- histories that once went wrong ---------------------------------------------------------------------------------


@pytest.fixture
def history() -> Iterator[ReleaseHistories]:
    history = ReleaseHistories()
    with quick_gate():
        yield history
        history.teardown()


def test_equal_bad_files_of_two_types_do_not_hold_up_the_first_release(history: ReleaseHistories) -> None:
    history.begin(settings=changes_of("first", cuts="", way="in_place"), topic="apples", number=0, is_rebuilt=False)
    fill(history.docs, {"bad.md": "\0", "a/worse.txt": "\0", "b/bad.txt": "\0", "a/b.md": "\0", GOOD_NAMES[0]: TEXTS[0]})
    history._work("index", None)
    assert history.served


def test_a_change_that_a_crash_cut_off_and_that_was_taken_back_leaves_no_newer_artifact(history: ReleaseHistories) -> None:
    history.begin(settings=changes_of("first", cuts="", way="in_place"), topic="pears", number=4, is_rebuilt=False)
    for text, place in ((TEXTS[0], None), (TEXTS[-1], "vectors.retain"), (TEXTS[0], None)):
        fill(history.docs, {GOOD_NAMES[0]: text})
        history._work("index", Crash("index", place, is_after=True) if place else None)


def test_a_candidate_begun_under_other_settings_passes_the_gate(history: ReleaseHistories) -> None:
    history.begin(settings=changes_of("first", cuts="", way="in_place"), topic="apples", number=4, is_rebuilt=True)
    history._configure(changes_of("short", cuts="markdown", way="in_place"))
    history._work("reindex", None)
    history._configure(changes_of("short", cuts="", way="in_place"))
    history._work("reindex", None)
    history._work("release", None)
    assert history.can_go_back
