"""What a document that has taken over its parser might try, each as a function that a parsing process runs.

Every attempt is made twice where it can be: as Python offers it, and straight through the C library, which asks no hook.
"""

import ctypes
import json
import os
import socket
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rag_pipeline.adapters.parsing.child import Limits

LIBRARY = ctypes.CDLL(None, use_errno=True)
Attempts = dict[str, Callable[[], Any]]


def tell(facts: object) -> bytes:
    """A document that holds the facts."""
    values = {"type": "text", "format": "text", "title": "", "elements": [["text", json.dumps(facts), [], None]]}
    return json.dumps(values | {"metadata": {}, "flags": []}).encode()


def results_of(attempts: Attempts) -> dict[str, str]:
    """For each attempt ``done``, or the class of the error that it met."""
    found = {}
    for name, attempt in attempts.items():
        try:
            attempt()
            found[name] = "done"
        except Exception as error:  # noqa: BLE001  whatever refuses it
            found[name] = type(error).__name__
    return found


def native(function: str, *arguments: Any) -> int:
    """Calls the C library. Raises OSError as it reports one."""
    answer: int = getattr(LIBRARY, function)(*arguments)
    if answer < 0:
        raise OSError(ctypes.get_errno(), function)
    return answer


def reach_out(data: bytes, path: str, limits: Limits) -> bytes:
    """Tries to reach the port and the socket file that the document names."""
    target = json.loads(data)
    port = int(target["port"])
    address = b"\x02\x00" + port.to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)

    def native_tcp() -> None:
        descriptor = native("socket", 2, 1, 0)
        native("connect", descriptor, address, len(address))

    def native_udp() -> None:
        descriptor = native("socket", 2, 2, 0)
        native("sendto", descriptor, b"leak", 4, 0, address, len(address))

    def udp() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"leak", ("127.0.0.1", port))

    def unix() -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(target["file"])

    return tell(
        results_of(
            {
                "tcp": lambda: socket.create_connection(("127.0.0.1", port), 2),
                "udp": udp,
                "unix": unix,
                "dns": lambda: socket.getaddrinfo("leak.example.org", 80),
                "url": lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/leak", timeout=2),
                "native tcp": native_tcp,
                "native udp": native_udp,
                "native unix": lambda: native("socket", 1, 1, 0),
                "native raw": lambda: native("socket", 17, 3, 0),
                "io_uring": lambda: native("syscall", 425, 8, ctypes.create_string_buffer(120)),
            }
        )
    )


def write_everywhere(data: bytes, path: str, limits: Limits) -> bytes:
    """Tries to write below the folder that the document names, and in its own."""
    outside = Path(data.decode())
    existing = outside / "existing"

    def own() -> None:
        Path("own").write_text("fine")
        Path(os.environ["TMPDIR"], "own").read_text()

    def by_link() -> None:
        Path("link").symlink_to(existing)
        Path("link").write_text("leak")

    return tell(
        results_of(
            {
                "own folder": own,
                "create": lambda: (outside / "new").write_text("leak"),
                "overwrite": lambda: existing.write_text("leak"),
                "by link": by_link,
                "delete": existing.unlink,
                "rename": lambda: existing.rename(outside / "renamed"),
                "folder": (outside / "folder").mkdir,
                "native create": lambda: native("open", bytes(outside / "native"), os.O_WRONLY | os.O_CREAT, 0o600),
                "native overwrite": lambda: native("open", bytes(existing), os.O_WRONLY),
                "native truncate": lambda: native("truncate", bytes(existing), ctypes.c_long(0)),
                "native delete": lambda: native("unlink", bytes(existing)),
                "native folder": lambda: native("mkdir", bytes(outside / "native"), 0o700),
                "native link": lambda: native("symlink", b"/etc/passwd", bytes(outside / "native")),
                "read a document": lambda: native("open", bytes(existing), os.O_RDONLY),
                "read the users": lambda: native("open", b"/etc/passwd", os.O_RDONLY),
            }
        )
        | {"folder": os.environ["TMPDIR"]}
    )


def start_programs(data: bytes, path: str, limits: Limits) -> bytes:
    """Tries to start programs and processes, and to end or watch the one that the document names."""
    other = int(data)

    def native_fork() -> None:
        if native("fork") == 0:
            os._exit(0)

    def native_exec() -> None:
        arguments = (ctypes.c_char_p * 2)(b"/bin/true", None)
        native("execv", b"/bin/true", arguments)

    return tell(
        results_of(
            {
                "subprocess": lambda: subprocess.run(["/bin/true"], check=True),
                "system": lambda: os.system("true"),
                "fork": os.fork,
                "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
                "native fork": native_fork,
                "native exec": native_exec,
                "native kill": lambda: native("kill", other, 0),
                "native trace": lambda: native("ptrace", 16, other, None, None),
                "limits of another": lambda: native("prlimit", other, 7, ctypes.create_string_buffer(b"\1" * 16), None),
                "namespace": lambda: native("unshare", 0x10000000),
            }
        )
    )


def look_around(data: bytes, path: str, limits: Limits) -> bytes:
    """What the process can see of the pipeline that the document names."""
    parent = int(data)
    own = Path("/proc/self/environ").read_bytes().decode(errors="replace")
    memory = [line.decode(errors="replace") for line in _c_environment()]
    return tell(
        {
            "environment": [*os.environ.items()],
            "own": own,
            "memory": memory,
            "descriptors": sorted(link.name for link in Path("/proc/self/fd").iterdir() if link.exists()),
            "others": results_of(
                {
                    "parent's environment": lambda: Path(f"/proc/{parent}/environ").read_bytes(),
                    "server's environment": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
                }
            ),
        }
    )


def _c_environment() -> list[bytes]:
    values = ctypes.POINTER(ctypes.c_char_p).in_dll(LIBRARY, "environ")
    found: list[bytes] = []
    while line := values[len(found)]:
        found.append(line)
    return found
