"""The law: any history of changes, repeats and crashes ends in the same index as a fresh build."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rag_pipeline.project import Project
from rag_pipeline_tests.fakes.parser import FakeParser
from rag_pipeline_tests.projects import article, check, dump, fill, fresh_dump, index_once, open_project, write_settings

NAMES = st.sampled_from([f"{folder}{name}.md" for folder in ("", "a/", "b/c/") for name in ("one", "two", "three", "four")])
TOPICS = st.sampled_from(["apples", "pears", "plums", "한국어 문서"])
PLACES = ("documents.append", "chunks.append", "vectors.append", "store.upsert", "store.delete", "ledger.put_bucket_state")


class CrashError(Exception):
    """Stands for the death of the process."""


class Crasher:
    """Lets calls through until it is armed; then the named call dies, before or after its work."""

    def __init__(self) -> None:
        self.armed: tuple[str, bool] | None = None

    def wrap(self, part: Any, place: str, method: str) -> None:
        original = getattr(part, method)

        def call(*args: Any, **kwargs: Any) -> Any:
            if self.armed == (place, False):
                self.armed = None
                raise CrashError(place)
            result = original(*args, **kwargs)
            if self.armed == (place, True):
                self.armed = None
                raise CrashError(place)
            return result

        setattr(part, method, call)


class Histories(RuleBasedStateMachine):
    """Changes files at random, indexes at random times, dies at random places."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="history-"))
        self.file = write_settings(self.folder, delete_brake={"max_documents": 1000})
        self.docs = self.folder / "docs"
        self.is_fresh = False

    def open(self) -> Project:
        return open_project(self.file, parser=FakeParser())

    @rule(name=NAMES, topic=TOPICS, paragraphs=st.integers(1, 4))
    def write(self, name: str, topic: str, paragraphs: int) -> None:
        fill(self.docs, {name: article(topic, paragraphs)})
        self.is_fresh = False

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        (self.docs / name).unlink(missing_ok=True)
        self.is_fresh = False

    @rule(name=NAMES, new_name=NAMES)
    def rename(self, name: str, new_name: str) -> None:
        if (self.docs / name).exists():
            (self.docs / new_name).parent.mkdir(parents=True, exist_ok=True)
            (self.docs / name).replace(self.docs / new_name)
            self.is_fresh = False

    @rule(name=NAMES)
    def touch(self, name: str) -> None:
        if (self.docs / name).exists():
            (self.docs / name).touch()

    @rule()
    def index(self) -> None:
        project = self.open()
        index_once(project)
        project.close()
        self.is_fresh = True

    @rule(place=st.sampled_from(PLACES), is_after=st.booleans())
    def crash(self, place: str, is_after: bool) -> None:
        project, crasher = self.open(), Crasher()
        crasher.wrap(project.store, "store.upsert", "upsert")
        crasher.wrap(project.store, "store.delete", "delete")
        crasher.wrap(project.ledger, "ledger.put_bucket_state", "put_bucket_state")
        crasher.wrap(project.target_parts().documents, "documents.append", "append")
        crasher.wrap(project.target_parts().vectors, "vectors.append", "append")
        crasher.armed = (place, is_after)
        try:
            index_once(project)
            self.is_fresh = True
        except CrashError:
            self.is_fresh = False
        finally:
            project.close()

    @precondition(lambda self: self.is_fresh)
    @invariant()
    def equals_a_fresh_build(self) -> None:
        project = self.open()
        try:
            assert check(project).findings == []
            assert dump(project) == fresh_dump(project, self.folder / "fresh", parser=FakeParser())
        finally:
            project.close()

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


Histories.TestCase.settings = settings(
    max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
TestHistories = Histories.TestCase
