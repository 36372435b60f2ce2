"""What a parsing process may do once it is shut in: read libraries, write its own folder, answer. Nothing else.

Every measure stands by itself. Where a platform lacks one the others hold, and the process says which are in force.
"""

import contextlib
import ctypes
import os
import site
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import rag_pipeline
from rag_pipeline.adapters.parsing import landlock, seccomp

SECCOMP, LANDLOCK, HOOK, CAPABILITIES, LIMITS = "seccomp", "landlock", "hook", "capabilities", "limits"
PURPOSES = {
    SECCOMP: "the kernel refuses connections, programs and processes",
    LANDLOCK: "the kernel refuses files but those of libraries and an own folder",
    HOOK: "Python refuses connections, programs and writes",
    CAPABILITIES: "rights of root are given up, none can be gained",
    LIMITS: "open files, files and core dumps are limited",
}
MEASURES = tuple(PURPOSES)

_SYSTEM_PLACES = ("/usr", "/lib", "/lib32", "/lib64", "/nix/store", "/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types")
_READ_DEVICES = ("/dev/urandom", "/dev/random", "/dev/zero")
_CAPABILITY_VERSION = 0x20080522
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_REFUSED_EVENTS = frozenset(
    [
        "os.system",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.startfile",
        "pty.spawn",
        "subprocess.Popen",
        "socket.__new__",
        "socket.bind",
        "socket.connect",
        "socket.sendto",
        "socket.sendmsg",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "socket.gethostbyaddr",
        "socket.getnameinfo",
        "urllib.Request",
        "http.client.connect",
        "ftplib.connect",
        "smtplib.connect",
        "webbrowser.open",
    ]
)
_WRITING_EVENTS = frozenset(
    [
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.mkdir",
        "os.link",
        "os.symlink",
        "os.truncate",
        "os.chmod",
        "os.chown",
        "os.utime",
        "shutil.rmtree",
    ]
)


def shut_in(folder: Path, *, open_files: int, file_bytes: int) -> tuple[str, ...]:
    """Shuts this process in for good; the measures that are in force."""
    in_force = []
    for name, measure in _measures(folder, open_files=open_files, file_bytes=file_bytes):
        with contextlib.suppress(OSError, AttributeError, ImportError, ValueError):
            measure()
            in_force.append(name)
    return tuple(in_force)


def _measures(folder: Path, *, open_files: int, file_bytes: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """In an order in which none forbids the next."""
    places = list(_readable_places())
    yield LIMITS, lambda: _limit(open_files=open_files, file_bytes=file_bytes)
    if sys.platform == "linux":
        yield CAPABILITIES, _drop_capabilities
        if landlock.version():
            yield LANDLOCK, lambda: landlock.restrict(readable=places, writable=folder)
        if seccomp.is_possible():
            yield SECCOMP, seccomp.install_filter
    yield HOOK, lambda: refuse_events(folder)


def refuse_events(folder: Path) -> None:
    """Has Python itself refuse connections, programs and writes outside the folder: weaker than the kernel, but everywhere.

    C code does not ask Python, which is why this comes on top and not instead.
    """
    inside = os.path.realpath(folder)

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _REFUSED_EVENTS:
            raise PermissionError(f"a parsing process may not use {event}")
        if event == "open":
            path, mode, flags = arguments
            writes = isinstance(mode, str) and not set(mode).isdisjoint("wax+")
            if (writes or (mode is None and flags & _WRITING)) and isinstance(path, (str, bytes)):
                _refuse_outside(path, inside)
        elif event in _WRITING_EVENTS and isinstance(arguments[0], (str, bytes)):
            _refuse_outside(arguments[0], inside)

    sys.addaudithook(refuse)


def _refuse_outside(path: str | bytes, inside: str) -> None:
    real = os.path.realpath(os.fsdecode(path))
    if real != os.devnull and not (real + os.sep).startswith(inside + os.sep):
        raise PermissionError("a parsing process may write only in its own folder")


def _readable_places() -> Iterator[Path]:
    """Where Python and the packages live. Not the working folder, which is where people's documents are."""
    yield from map(Path, (*_SYSTEM_PLACES, *_READ_DEVICES, "/proc/self"))
    package = Path(rag_pipeline.__file__ or "").parent
    yield package
    prefixes = {Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    for name in ("stdlib", "platstdlib", "purelib", "platlib"):
        yield Path(sysconfig.get_path(name))
    for prefix in prefixes:
        yield prefix / "lib"
        yield prefix / "lib64"
    user_site = site.getusersitepackages() if site.ENABLE_USER_SITE else None
    for entry in filter(None, sys.path):
        if entry == user_site or Path(entry).name in ("site-packages", "dist-packages") or _is_installed(Path(entry)):
            yield Path(entry)


def _is_installed(folder: Path) -> bool:
    """Whether a package manager filled this folder."""
    return folder.is_dir() and any(folder.glob("*.dist-info"))


def _limit(*, open_files: int, file_bytes: int) -> None:
    import resource

    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, open_files)
    _lower(resource.RLIMIT_FSIZE, file_bytes)
    if not seccomp.is_possible():  # the filter refuses processes and lets threads be; this counts both
        _lower(resource.RLIMIT_NPROC, 0)


def _lower(kind: int, value: int) -> None:
    import resource

    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _drop_capabilities() -> None:
    """Without any, a process of root's is no more than another one. Nothing to do for the others."""
    seccomp.forbid_privileges()
    library = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if library.capset(ctypes.byref(header), ctypes.byref(nothing)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
