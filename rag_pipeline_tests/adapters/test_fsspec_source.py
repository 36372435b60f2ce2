import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from rag_pipeline.adapters import fsspec_source
from rag_pipeline.adapters.fsspec_source import FsspecSource
from rag_pipeline.errors import SettingsError, SourceUnavailableError, UnstableDocumentError
from rag_pipeline.indexing.changes import is_racy
from rag_pipeline.settings import SourceSettings
from rag_pipeline_tests.object_store import BUCKET, running_s3, s3_client


class TrickyFileSystem(MemoryFileSystem):
    """Memory, with accidents that a test sets: called before the method named does its work."""

    protocol = "tricky"
    accidents: dict[str, Callable[[str], None]] = {}  # noqa: RUF012 - one set for all instances, as their store is
    facts: dict[str, Any] = {}  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("tricky:/")))

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> Any:
        self.accidents.get("ls", _nothing)(path)
        return [self._told(info) for info in super().ls(path, detail=True, **kwargs)]

    def info(self, path: str, **kwargs: Any) -> Any:
        self.accidents.get("info", _nothing)(path)
        return self._told(super().info(path, **kwargs))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        self.accidents.get("cat_file", _nothing)(path)
        return super().cat_file(path, start=start, end=end, **kwargs)

    def _told(self, info: dict[str, Any]) -> dict[str, Any]:
        facts = {key: value for key, value in self.facts.items() if info["type"] == "file"}
        return {key: value for key, value in {**info, **facts}.items() if value is not None}


def _nothing(path: str) -> None:
    return None


fsspec.register_implementation("tricky", TrickyFileSystem, clobber=True)


@pytest.fixture
def tricky(monkeypatch: pytest.MonkeyPatch) -> tuple[TrickyFileSystem, FsspecSource]:
    monkeypatch.setattr(TrickyFileSystem, "store", {})
    monkeypatch.setattr(TrickyFileSystem, "pseudo_dirs", [""])
    monkeypatch.setattr(TrickyFileSystem, "accidents", {})
    monkeypatch.setattr(TrickyFileSystem, "facts", {})
    monkeypatch.setattr(fsspec_source, "_PAUSE_S", 0)
    system = TrickyFileSystem(skip_instance_cache=True)
    system.pipe_file("/docs/a.txt", b"old")
    return system, FsspecSource(SourceSettings(name="test", url="tricky://docs"))


def once(action: Callable[[], None]) -> Callable[[str], None]:
    """An accident that happens the first time only."""
    left = [action]
    return lambda path: left.pop()() if left else None


def raising(error: Exception, *, where: str = "") -> Callable[[str], None]:
    def fail(path: str) -> None:
        if path.endswith(where):
            raise error

    return fail


def test_a_file_changed_while_it_is_read_is_read_again(tricky: tuple[TrickyFileSystem, FsspecSource]) -> None:
    system, source = tricky
    system.accidents["cat_file"] = once(lambda: system.pipe_file("/docs/a.txt", b"new, longer"))
    assert source.read("a.txt").data == b"new, longer"


def test_a_file_that_shrinks_while_it_is_read_is_read_again(tricky: tuple[TrickyFileSystem, FsspecSource]) -> None:
    system, source = tricky
    system.accidents["cat_file"] = once(lambda: system.pipe_file("/docs/a.txt", b"x"))
    assert source.digest("a.txt")[0].size_bytes == 1


def test_a_file_that_never_rests_is_unstable(tricky: tuple[TrickyFileSystem, FsspecSource]) -> None:
    system, source = tricky
    system.accidents["cat_file"] = lambda path: system.pipe_file(path, uuid.uuid4().bytes[:3])
    with pytest.raises(UnstableDocumentError, match="changed during each"):
        source.read("a.txt")


def test_a_forbidden_object_is_unreadable(tricky: tuple[TrickyFileSystem, FsspecSource]) -> None:
    system, source = tricky
    system.accidents["cat_file"] = raising(PermissionError(13, "forbidden"))
    with pytest.raises(UnstableDocumentError) as caught:
        source.read("a.txt")
    assert caught.value.reason == "unreadable"


def test_a_short_network_failure_is_ridden_out(tricky: tuple[TrickyFileSystem, FsspecSource]) -> None:
    system, source = tricky
    system.accidents["cat_file"] = once(lambda: raising(ConnectionResetError())(""))
    assert source.read("a.txt").data == b"old"


def test_a_lasting_network_failure_is_not_blamed_on_the_file(tricky: tuple[TrickyFileSystem, FsspecSource]) -> None:
    system, source = tricky
    system.accidents["info"] = raising(TimeoutError())
    with pytest.raises(SourceUnavailableError, match="TimeoutError"):
        source.read("a.txt")


def test_a_folder_that_cannot_be_listed_fails_the_whole_listing(tricky: tuple[TrickyFileSystem, FsspecSource]) -> None:
    system, source = tricky
    system.pipe_file("/docs/closed/b.txt", b"text")
    system.accidents["ls"] = raising(PermissionError(13, "forbidden"), where="closed")
    with pytest.raises(SourceUnavailableError, match="forbidden"):
        source.list_files()


def test_an_object_store_that_lists_nothing_for_a_missing_bucket_is_asked_for_the_bucket(
    tricky: tuple[TrickyFileSystem, FsspecSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    system, source = tricky
    monkeypatch.setattr(fsspec_source, "OBJECT_STORES", frozenset({"tricky"}))
    assert [file.path for file in source.list_files().files] == ["a.txt"]
    system.rm_file("/docs/a.txt")
    with pytest.raises(SourceUnavailableError):
        source.list_files()
    system.mkdir("/docs")
    assert source.list_files().files == ()


def test_links_and_devices_are_excluded(tricky: tuple[TrickyFileSystem, FsspecSource]) -> None:
    system, source = tricky
    system.facts["type"] = "link"
    assert [(exclusion.path, exclusion.reason) for exclusion in source.list_files().excluded] == [("a.txt", "symlink")]
    system.facts["type"] = "other"
    assert [(exclusion.path, exclusion.reason) for exclusion in source.list_files().excluded] == [("a.txt", "not_regular")]


def test_a_system_that_tells_neither_time_nor_version_is_always_read_again(tricky: tuple[TrickyFileSystem, FsspecSource]) -> None:
    system, source = tricky
    system.facts["created"] = None
    listing = source.list_files()
    assert is_racy(listing.files[0].stat, started_ns=listing.started_ns)
    assert source.read("a.txt").stat == listing.files[0].stat


@pytest.mark.parametrize("key", ["ETag", "etag", "generation", "md5Hash"])
def test_what_changes_with_the_content_is_the_version(tricky: tuple[TrickyFileSystem, FsspecSource], key: str) -> None:
    system, source = tricky
    system.facts[key] = '"one"'
    before = source.list_files().files[0].stat
    system.facts[key] = '"two"'
    assert before.version == "one"
    assert source.list_files().files[0].stat != before


def test_a_listing_and_a_read_may_tell_the_time_in_different_forms(tricky: tuple[TrickyFileSystem, FsspecSource]) -> None:
    system, source = tricky
    moment = datetime(2024, 5, 1, 12, 30, 15, 250_000, tzinfo=UTC)
    system.facts.update(created=None, ETag="e")
    stats = set()
    for told in (
        moment,
        moment.astimezone(timezone(timedelta(hours=9))),
        moment.isoformat(),
        moment.timestamp(),
        moment.replace(microsecond=0),
    ):
        system.facts["LastModified"] = told
        stats.add(source.list_files().files[0].stat)
    assert len(stats) == 1
    assert stats.pop().modified_ns == int(moment.timestamp()) * 1_000_000_000


def test_an_object_grown_above_the_limit_is_not_read(tricky: tuple[TrickyFileSystem, FsspecSource]) -> None:
    source = FsspecSource(SourceSettings(name="test", url="tricky://docs", max_size_mb=0.000001))
    with pytest.raises(UnstableDocumentError, match="max_size_mb"):
        source.read("a.txt")


def test_options_that_the_file_system_refuses_are_a_settings_error() -> None:
    source = FsspecSource(SourceSettings(name="test", url="s3://bucket", storage_options={"no_such_option": object()}))
    with pytest.raises(SettingsError, match="storage_options"):
        source.list_files()


def test_a_whole_object_store_is_no_source() -> None:
    source = FsspecSource(SourceSettings(name="test", url="s3://", storage_options={"anon": True}))
    with pytest.raises(SettingsError, match="names no bucket"):
        source.list_files()


def test_s3_folder_markers_and_neighbours_are_no_documents() -> None:
    root = f"{BUCKET}/{uuid.uuid4().hex}"
    with running_s3() as options:
        system = s3_client(options)
        for key in ("/part/", "/part/a.txt", "-of-others/a.txt", "//b.txt", "/part//c.txt"):
            system.pipe_file(root + key, b"x")
        source = FsspecSource(SourceSettings(name="test", url=f"s3://{root}/", storage_options=options))
        listing = source.list_files()
        assert {source.read(file.path).data for file in listing.files} == {b"x"}
    assert [file.path for file in listing.files] == ["/b.txt", "part//c.txt", "part/a.txt"]
    assert listing.excluded == ()


@pytest.mark.deep
def test_s3_lists_more_than_one_page() -> None:
    root = f"{BUCKET}/{uuid.uuid4().hex}"
    with running_s3() as options:
        s3_client(options).pipe({f"{root}/part-{number % 7}/{number:04d}.txt": b"x" for number in range(1_050)})
        source = FsspecSource(SourceSettings(name="test", url=f"s3://{root}", storage_options=options))
        assert len(source.list_files().files) == 1_050


def test_a_dead_s3_server_is_an_error_and_no_empty_listing() -> None:
    with running_s3() as options:
        pass
    options = {**options, "config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 1}, "key": "SECRETKEY"}
    source = FsspecSource(SourceSettings(name="test", url=f"s3://{BUCKET}/docs", storage_options=options))
    with pytest.raises(SourceUnavailableError, match="EndpointConnectionError") as caught:
        source.list_files()
    assert "SECRET" not in str(caught.value)
