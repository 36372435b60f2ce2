"""The word of the port DocumentSource, held by a local folder, memory://, a real S3 server and the fake."""

import time
import uuid
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import fsspec
import pytest

from rag_pipeline.adapters.document_sources import open_source
from rag_pipeline.errors import SourceUnavailableError
from rag_pipeline.indexing.identity import content_digest
from rag_pipeline.ports import DocumentSource
from rag_pipeline.schema import Listing
from rag_pipeline.settings import SourceSettings
from rag_pipeline_tests.fakes.document_source import MemorySource
from rag_pipeline_tests.object_store import BUCKET

KINDS = ["local", "memory", "s3", "fake"]
KINDS_WITH_FOLDERS = KINDS[:-1]


class World(ABC):
    """A place to put files, and the source that sees them."""

    url: str
    missing_url: str
    options: dict[str, Any]

    def __init__(self) -> None:
        self.options = {}

    @abstractmethod
    def write(self, path: str, data: bytes) -> None: ...

    @abstractmethod
    def delete(self, path: str) -> None: ...

    def source(self, url: str | None = None, **settings: Any) -> DocumentSource:
        values = {"name": "test", "url": url or self.url, "storage_options": self.options, **settings}
        return open_source(SourceSettings(**values), base=Path("/"))


class LocalWorld(World):
    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.url = str(root)
        self.missing_url = str(root / "missing")

    def write(self, path: str, data: bytes) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(data)

    def delete(self, path: str) -> None:
        (self.root / path).unlink()


class RemoteWorld(World):
    def __init__(self, system: Any, *, protocol: str, options: dict[str, Any]) -> None:
        super().__init__()
        self.system = system
        self.options = options
        self.root = f"{BUCKET}/{uuid.uuid4().hex}"
        system.mkdirs(self.root, exist_ok=True)
        self.url = f"{protocol}://{self.root}"
        self.missing_url = f"{protocol}://missing-{uuid.uuid4().hex}/docs"

    def write(self, path: str, data: bytes) -> None:
        self.system.pipe_file(f"{self.root}/{path}", data)

    def delete(self, path: str) -> None:
        self.system.rm_file(f"{self.root}/{path}")


class FakeWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.fake = MemorySource(url="memory://test")
        self.url, self.missing_url = self.fake.url, "memory://missing"

    def write(self, path: str, data: bytes) -> None:
        self.fake.write(path, data)

    def delete(self, path: str) -> None:
        self.fake.delete(path)

    def source(self, url: str | None = None, **settings: Any) -> DocumentSource:
        self.fake.is_missing = url == self.missing_url
        self.fake.exclude = settings.get("exclude", ())
        self.fake.size_max_bytes = int(settings.get("max_size_mb", 1) * 1024 * 1024)
        return self.fake


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    if request.param == "local":
        return LocalWorld(tmp_path)
    if request.param == "memory":
        return RemoteWorld(fsspec.filesystem("memory"), protocol="memory", options={})
    if request.param == "s3":
        options = request.getfixturevalue("s3_options")
        return RemoteWorld(request.getfixturevalue("s3_system"), protocol="s3", options=options)
    return FakeWorld()


def paths(listing: Listing) -> list[str]:
    return [file.path for file in listing.files]


def excluded(listing: Listing) -> dict[str, str]:
    return {exclusion.path: exclusion.reason for exclusion in listing.excluded}


def test_every_file_is_listed_by_its_path_below_the_root(world: World) -> None:
    for path in ("b.txt", "a.txt", "folder/c.txt", "folder/deeper/d.txt", ".hidden", "folder/.hidden"):
        world.write(path, path.encode())
    listing = world.source().list_files()
    assert paths(listing) == sorted(["b.txt", "a.txt", "folder/c.txt", "folder/deeper/d.txt", ".hidden", "folder/.hidden"])
    assert listing.source == world.source().name
    assert listing.excluded == ()


def test_an_empty_root_is_an_empty_listing(world: World) -> None:
    assert world.source().list_files().files == ()


def test_a_missing_root_is_an_error_that_says_what_to_do(world: World) -> None:
    with pytest.raises(SourceUnavailableError, match="cannot list"):
        world.source(world.missing_url).list_files()


def test_a_listing_starts_at_the_time_it_says(world: World) -> None:
    if isinstance(world, FakeWorld):
        world.fake.clock.time_ns = time.time_ns()
    before = time.time_ns()
    started = world.source().list_files().started_ns
    assert abs(started - before) < 60_000_000_000


def test_a_quiet_file_keeps_its_stat_and_reading_tells_the_same(world: World) -> None:
    world.write("a.txt", b"text")
    source = world.source()
    (first,), (second,) = source.list_files().files, world.source().list_files().files
    assert first == second
    assert source.read("a.txt").stat == first.stat
    assert source.digest("a.txt")[0] == first.stat


def test_a_write_of_equal_size_changes_the_stat(world: World) -> None:
    world.write("a.txt", b"text")
    source = world.source()
    before = source.list_files().files[0].stat
    time.sleep(0.01)
    world.write("a.txt", b"TEXT")
    assert source.list_files().files[0].stat != before


def test_a_digest_of_stats_is_equal_while_the_listing_is_and_no_longer(world: World) -> None:
    world.write("a.txt", b"text")
    world.write("folder/b.txt", b"text")
    source = world.source()
    digests = [source.stat_digest(), world.source().stat_digest()]
    if digests == [None, None]:  # a source without one is listed at every look
        return
    time.sleep(0.01)
    world.write("a.txt", b"TEXT")
    digests.append(source.stat_digest())
    world.write("folder/c.txt", b"new")
    digests.append(source.stat_digest())
    world.delete("folder/b.txt")
    digests.append(source.stat_digest())
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4
    assert None not in digests


def test_a_missing_root_has_no_digest(world: World) -> None:
    assert world.source(world.missing_url).stat_digest() is None


def test_reading_gives_the_bytes_and_their_hash(world: World) -> None:
    data = bytes(range(256)) * 5_000
    world.write("folder/a.bin", data)
    content = world.source().read("folder/a.bin")
    assert content.data == data
    assert content.content_hash == content_digest(data)
    assert content.stat.size_bytes == len(data)


def test_hashing_without_holding_the_bytes_gives_the_same_hash(world: World) -> None:
    world.write("empty", b"")
    world.write("small", b"x")
    source = world.source()
    for path in ("empty", "small"):
        content = source.read(path)
        assert source.digest(path) == (content.stat, content.content_hash)


def test_a_file_that_is_gone_is_not_found(world: World) -> None:
    world.write("a.txt", b"text")
    world.write("b.txt", b"text")
    source = world.source()
    source.list_files()
    world.delete("a.txt")
    for read in (source.read, source.digest):
        with pytest.raises(FileNotFoundError):
            read("a.txt")
    assert paths(source.list_files()) == ["b.txt"]


def test_a_file_that_a_rule_leaves_out_is_told_with_its_reason(world: World) -> None:
    world.write("a.txt", b"text")
    world.write("b.tmp", b"text")
    world.write("large.txt", b"x" * 2_000)
    listing = world.source(exclude=("*.tmp",), max_size_mb=0.001).list_files()
    assert paths(listing) == ["a.txt"]
    assert excluded(listing) == {"b.tmp": "pattern", "large.txt": "too_large"}


@pytest.mark.parametrize("world", KINDS_WITH_FOLDERS, indirect=True)
def test_an_excluded_folder_is_told_once_and_nothing_below_it(world: World) -> None:
    for path in ("a.txt", ".git/config", ".git/objects/12/34", "sub/.git/HEAD", "sub/b.txt", "not.git/c.txt"):
        world.write(path, b"text")
    listing = world.source().list_files()
    assert paths(listing) == ["a.txt", "not.git/c.txt", "sub/b.txt"]
    assert excluded(listing) == {".git/": "pattern", "sub/.git/": "pattern"}


def test_the_address_of_a_file_is_the_configured_url_and_its_path(world: World) -> None:
    assert world.source().uri("folder/a.txt") == f"{world.url}/folder/a.txt"


@pytest.mark.parametrize("world", KINDS_WITH_FOLDERS, indirect=True)
def test_odd_names_are_listed_in_one_line_and_read_back(world: World) -> None:
    names = ["with space.txt", "100%.txt", "%41.txt", "한국어.txt", "quote'\".txt", "#?.txt", "tab\t.txt", "ä" * 100]
    if isinstance(world, LocalWorld):
        names.append("new\nline.txt")
    for name in names:
        world.write(name, name.encode())
    source = world.source()
    listed = paths(source.list_files())
    assert len(listed) == len(names)
    assert all(len(path.splitlines()) == 1 for path in listed)
    assert {source.read(path).data.decode() for path in listed} == set(names)
