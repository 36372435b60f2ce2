"""A small process that holds the light parsers and nothing of the application, and forks the processes that parse.

It is started with a clean environment, so that no secret is even in its memory, and a fork of it costs milliseconds.
It reads one order at a time from its socket and answers each: ``start`` (with the child's socket) and ``end``. When the
socket closes, the pipeline is gone: it ends every child, removes their folders, and itself.
"""

import importlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PRELOADED = ("child", "delimited", "html", "mail", "markdown", "pdf", "plain_text", "restructuredtext", "source_code")
_PR_SET_PDEATHSIG = 1
_ORDER_BYTES = 64 * 1024
_CHANNEL = 3


@dataclass(frozen=True, slots=True)
class _Order:
    """What a child is to run, and within what."""

    function: str
    open_files: int
    file_bytes: int


def main(descriptor: int) -> None:
    """Serves the socket until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in _PRELOADED:
        importlib.import_module(f"rag_pipeline.adapters.parsing.{name}")
    children: dict[int, Path] = {}
    with socket.socket(fileno=descriptor) as control:
        try:
            while message := _receive(control):
                order, channels = message
                control.sendall(json.dumps(_obey(order, channels, children)).encode() + b"\n")
        except OSError:
            pass  # the pipeline is gone
        finally:
            for pid in list(children):
                _end(pid, children)


def _receive(control: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    data, channels, _, _ = socket.recv_fds(control, _ORDER_BYTES, 1)
    if not data:
        return None
    return json.loads(data), channels


def _obey(order: dict[str, Any], channels: list[int], children: dict[int, Path]) -> dict[str, Any]:
    if "end" in order:
        return {"status": _end(int(order["end"]), children)}
    try:
        return {"pid": _start(_Order(**order["start"]), channels[0], children)}
    except OSError as error:
        return {"error": type(error).__name__}
    finally:
        for channel in channels:
            os.close(channel)


def _start(order: _Order, channel: int, children: dict[int, Path]) -> int:
    folder = Path(tempfile.mkdtemp(prefix="rag-parsing-"))
    try:
        pid = os.fork()
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if pid == 0:
        _become_child(order, channel, folder)
    children[pid] = folder
    return pid


def _end(pid: int, children: dict[int, Path]) -> int | None:
    """The status of the child as `os.waitpid` tells it; None for one that was ended before. Ends it if it still runs.

    Its number belongs to it until this asks for its status, so nobody else can be hit.
    """
    folder = children.pop(pid, None)
    if folder is None:
        return None
    ended, status = os.waitpid(pid, os.WNOHANG)
    if not ended:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    shutil.rmtree(folder, ignore_errors=True)
    return status


def _become_child(order: _Order, channel: int, folder: Path) -> None:
    """Runs the child; never returns, and whatever goes wrong shows as its end."""
    code = 1
    try:
        _end_with_server()
        _keep_only(channel)
        os.chdir(folder)
        tempfile.tempdir = str(folder)
        os.environ["TMPDIR"] = str(folder)
        child = importlib.import_module("rag_pipeline.adapters.parsing.child")
        module, name = order.function.split(":")
        function = getattr(importlib.import_module(module), name)
        child.serve(_CHANNEL, function, folder, open_files=order.open_files, file_bytes=order.file_bytes)
        code = 0
    finally:
        os._exit(code)


def _end_with_server() -> None:
    """Has the kernel end this process when the server ends, whatever it is doing then."""
    if sys.platform != "linux":
        return
    import ctypes

    server = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)


def _keep_only(channel: int) -> None:
    """Leaves no descriptor open but the channel; input and outputs lead nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    highest = max(os.sysconf("SC_OPEN_MAX"), channel + 1)
    copy = os.dup(channel)
    for standard in range(3):
        os.dup2(nowhere, standard)
    os.dup2(copy, _CHANNEL)
    os.closerange(_CHANNEL + 1, highest)
