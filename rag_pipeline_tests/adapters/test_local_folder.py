import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rag_pipeline.adapters import local_folder
from rag_pipeline.adapters.local_folder import LocalFolderSource
from rag_pipeline.errors import SourceUnavailableError, UnstableDocumentError
from rag_pipeline.schema import Listing
from rag_pipeline.settings import SourceSettings


def open_folder(root: Path, *, url: str = "docs", **settings: Any) -> LocalFolderSource:
    return LocalFolderSource(SourceSettings(name="test", url=url, **settings), root=root, url=url)


def paths(listing: Listing) -> list[str]:
    return [file.path for file in listing.files]


def excluded(listing: Listing) -> dict[str, str]:
    return {exclusion.path: exclusion.reason for exclusion in listing.excluded}


def failing(call: Callable[..., Any], location: str, code: int) -> Callable[..., Any]:
    """``call``, but failing for paths that end so. Tests may run as root, whom no permission stops."""

    def fail_there(path: Any, *arguments: Any, **named: Any) -> Any:
        if str(path).rstrip("/").endswith(location):
            raise OSError(code, os.strerror(code), path)
        return call(path, *arguments, **named)

    return fail_there


# --- links and special files ---


def test_links_are_excluded_and_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("secret")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "outside").symlink_to(tmp_path)
    (root / "broken").symlink_to("nowhere")
    (root / "folder" / "loop").symlink_to(root)
    listing = open_folder(root).list_files()
    assert paths(listing) == []
    assert excluded(listing) == dict.fromkeys(["link.txt", "outside", "broken", "folder/loop"], "symlink")


def test_a_root_that_is_itself_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "release-1").mkdir()
    (tmp_path / "release-1" / "a.txt").write_text("text")
    (tmp_path / "current").symlink_to("release-1")
    source = open_folder(tmp_path / "current")
    assert paths(source.list_files()) == ["a.txt"]
    assert source.read("a.txt").data == b"text"


def test_links_are_followed_by_a_setting_and_each_real_folder_is_seen_once(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "b").mkdir(parents=True)
    (root / "b" / "real.txt").write_text("text")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "far.txt").write_text("far")
    (root / "a").symlink_to("b")
    (root / "b" / "loop").symlink_to(root)
    (root / "self").symlink_to("self")
    (root / "broken").symlink_to("nowhere")
    (root / "link.txt").symlink_to(tmp_path / "shared" / "far.txt")
    (root / "z").symlink_to(tmp_path / "shared")
    source = open_folder(root, follow_symlinks=True)
    listing = source.list_files()
    assert paths(listing) == ["b/real.txt", "link.txt", "z/far.txt"]
    assert excluded(listing) == dict.fromkeys(["a/", "b/loop/", "self", "broken"], "symlink")
    assert source.read("z/far.txt").data == b"far"
    assert source.read("link.txt").stat == listing.files[1].stat


def test_special_files_are_excluded(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.txt")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.txt"))
        listing = open_folder(tmp_path).list_files()
    assert paths(listing) == []
    assert excluded(listing) == {"fifo.txt": "not_regular", "socket.txt": "not_regular"}


def test_a_folder_named_like_a_document_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").mkdir()
    (tmp_path / "a.pdf" / "b.txt").write_text("text")
    assert paths(open_folder(tmp_path).list_files()) == ["a.pdf/b.txt"]


def test_reading_a_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.txt")
    failures: list[Exception] = []

    def read() -> None:
        try:
            open_folder(tmp_path).read("fifo.txt")
        except UnstableDocumentError as error:
            failures.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(5)
    assert not reader.is_alive()
    assert "no regular file" in str(failures[0])


def test_a_device_is_not_read() -> None:
    with pytest.raises(UnstableDocumentError, match="no regular file"):
        open_folder(Path("/dev")).read("zero")


@pytest.mark.parametrize("swapped", ["folder", "folder/a.txt"])
def test_a_link_swapped_in_after_the_listing_is_not_read(tmp_path: Path, swapped: str) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "a.txt").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.txt").write_text("secret")
    source = open_folder(root)
    assert paths(source.list_files()) == ["folder/a.txt"]
    (root / swapped).rename(tmp_path / "moved")
    (root / swapped).symlink_to(tmp_path / "elsewhere" / ("a.txt" if swapped.endswith("txt") else ""))
    with pytest.raises((UnstableDocumentError, FileNotFoundError)):
        source.read("folder/a.txt")


@pytest.mark.parametrize("path", ["../secret.txt", "folder/../../secret.txt", "/etc/hostname", "./a.txt", ""])
def test_no_path_leads_out_of_the_root(tmp_path: Path, path: str) -> None:
    (tmp_path / "root" / "folder").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("secret")
    for follow in (False, True):
        with pytest.raises(FileNotFoundError):
            open_folder(tmp_path / "root", follow_symlinks=follow).read(path)


# --- names ---


def test_names_that_are_no_text_are_listed_and_read(tmp_path: Path) -> None:
    for name in (b"caf\xe9.txt", b"\xff\xfe.txt", b"a\nb.txt", b"x" * 255, b"%E9.txt"):
        (tmp_path / os.fsdecode(name)).write_bytes(name)
    source = open_folder(tmp_path)
    listed = paths(source.list_files())
    assert listed == sorted(["caf%E9.txt", "%FF%FE.txt", "a%0Ab.txt", "x" * 255, "%25E9.txt"])
    assert {source.read(path).data for path in listed} == {b"caf\xe9.txt", b"\xff\xfe.txt", b"a\nb.txt", b"x" * 255, b"%E9.txt"}


def test_a_tree_deeper_than_any_path_can_say_does_not_stop_the_listing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=folder)
        deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = deeper
    os.close(folder)
    listing = open_folder(tmp_path).list_files()
    assert paths(listing) == ["a.txt"]
    assert list(excluded(listing).values()) == ["path_too_long"]


# --- listings are whole or an error ---


def test_a_root_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(SourceUnavailableError, match="Not a directory"):
        open_folder(tmp_path / "a.txt").list_files()


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOTCONN])
def test_a_folder_that_cannot_be_listed_fails_the_whole_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(os, "scandir", failing(os.scandir, "closed", code))
    with pytest.raises(SourceUnavailableError, match="closed"):
        open_folder(tmp_path).list_files()


def test_a_listing_that_breaks_off_half_way_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        (tmp_path / f"{number}.txt").write_text("text")
    real = os.scandir

    class HalfListing:
        def __init__(self, location: str) -> None:
            self._entries = real(location)

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            return self._half()

        def __exit__(self, *error: object) -> None:
            self._entries.close()

        def _half(self) -> Iterator[os.DirEntry[str]]:
            for _ in range(5):
                yield next(self._entries)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "scandir", HalfListing)
    with pytest.raises(SourceUnavailableError, match="Input/output error"):
        open_folder(tmp_path).list_files()


def test_a_root_replaced_during_the_listing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    root.mkdir()
    real = os.scandir

    def unmount(location: str) -> Any:
        root.rename(tmp_path / "gone")
        root.mkdir()
        return real(location)

    monkeypatch.setattr(os, "scandir", unmount)
    with pytest.raises(SourceUnavailableError, match="replaced"):
        open_folder(root).list_files()


def test_a_folder_removed_during_the_listing_is_just_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "brief").mkdir()
    real = os.scandir

    def remove(location: str) -> Any:
        if location.rstrip("/").endswith("brief"):
            (tmp_path / "brief").rmdir()
        return real(location)

    monkeypatch.setattr(os, "scandir", remove)
    assert paths(open_folder(tmp_path).list_files()) == ["a.txt"]


# --- reading one real version ---


def test_a_file_changed_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"old " * 1000)
    real, writes = os.read, [b"new " * 1000]

    def write_between(handle: int, size: int) -> bytes:
        block = real(handle, size)
        if writes:
            file.write_bytes(writes.pop())
        return block

    monkeypatch.setattr(os, "read", write_between)
    content = open_folder(tmp_path).read("a.txt")
    assert content.data == b"new " * 1000


def test_a_file_replaced_while_it_is_read_gives_one_version_or_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"old")
    (tmp_path / "b.txt").write_bytes(b"new version")
    real, moves = os.read, [(tmp_path / "b.txt", file)]

    def replace_between(handle: int, size: int) -> bytes:
        if moves:
            new, old = moves.pop()
            new.replace(old)
        return real(handle, size)

    monkeypatch.setattr(os, "read", replace_between)
    content = open_folder(tmp_path).read("a.txt")
    assert content.stat.size_bytes == len(content.data)
    assert content.data == b"new version"


def test_a_file_that_never_rests_is_unstable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"0")
    real = os.read

    def append(handle: int, size: int) -> bytes:
        with file.open("ab") as other:
            other.write(b"1")
        return real(handle, size)

    monkeypatch.setattr(os, "read", append)
    monkeypatch.setattr(local_folder, "_PAUSE_S", 0)
    for read in (open_folder(tmp_path).read, open_folder(tmp_path).digest):
        with pytest.raises(UnstableDocumentError) as caught:
            read("a.txt")
        assert caught.value.reason == "unreadable"


def test_a_file_that_outgrows_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x" * 3000)
    with pytest.raises(UnstableDocumentError, match="max_size_mb"):
        open_folder(tmp_path, max_size_mb=0.001).read("a.txt")


def test_a_file_without_permission_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("text")
    monkeypatch.setattr(os, "open", failing(os.open, "a.txt", errno.EACCES))
    with pytest.raises(UnstableDocumentError, match="Permission denied"):
        open_folder(tmp_path).read("a.txt")


@pytest.mark.parametrize("code", [errno.ESTALE, errno.EMFILE, errno.ENOTCONN])
def test_trouble_of_the_whole_source_is_not_blamed_on_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    (tmp_path / "a.txt").write_text("text")
    monkeypatch.setattr(os, "open", failing(os.open, "a.txt", code))
    with pytest.raises(SourceUnavailableError):
        open_folder(tmp_path).read("a.txt")


def test_a_root_that_is_gone_does_not_make_its_files_gone(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailableError):
        open_folder(tmp_path / "unmounted").read("a.txt")


def test_reading_leaves_no_handle_open(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("text")
    source = open_folder(tmp_path)
    source.read("folder/a.txt")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        source.read("folder/a.txt")
        source.digest("folder/a.txt")
        with pytest.raises(FileNotFoundError):
            source.read("folder/none.txt")
        with pytest.raises(FileNotFoundError):
            source.read("none/a.txt")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# --- versions ---


def test_an_edit_of_equal_size_and_time_changes_the_version(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"old")
    stat = file.stat()
    source = open_folder(tmp_path)
    before = source.list_files().files[0].stat
    file.write_bytes(b"new")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = source.list_files().files[0].stat
    assert after.size_bytes == before.size_bytes
    assert after.version != before.version


@pytest.mark.parametrize(
    ("url", "address"), [("docs", "docs/a.txt"), (".", "a.txt"), ("/srv/docs", "/srv/docs/a.txt"), ("/", "/a.txt")]
)
def test_the_address_is_as_the_settings_write_it(tmp_path: Path, url: str, address: str) -> None:
    assert open_folder(tmp_path, url=url).uri("a.txt") == address
