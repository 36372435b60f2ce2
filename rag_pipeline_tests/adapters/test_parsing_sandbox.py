import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_pipeline.adapters.child_processes import FORK_SERVER
from rag_pipeline.adapters.parser_pool import ProcessPoolParser, measures_in_force
from rag_pipeline.adapters.parsing import sandbox
from rag_pipeline.ports import ParseRequest
from rag_pipeline.schema import ParsedDocument
from rag_pipeline.settings import ParsingSettings
from rag_pipeline_tests.adapters import escapes

linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's measures are Linux's; the hook is tested everywhere")
pytestmark = linux
NAME = "rag_pipeline_tests.adapters.escapes"


def run_escape(escape: Callable[..., bytes], data: bytes, **settings: Any) -> Any:
    """What an escape tells of itself."""
    parser = ProcessPoolParser(ParsingSettings(workers=1, timeout_s=30, **settings), function=f"{NAME}:{escape.__name__}")
    try:
        (outcome,) = parser.parse_all([ParseRequest("a", "a.txt", data)])
    finally:
        parser.close()
    assert isinstance(outcome.result, ParsedDocument), outcome.result
    return json.loads(outcome.result.elements[0].text)


def test_every_measure_is_in_force_here() -> None:
    assert set(measures_in_force()) == set(sandbox.MEASURES)


def test_no_connection_leaves_a_parsing_process(tmp_path: Path) -> None:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        port = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        unix.bind(str(tmp_path / "s"))
        for listener in (tcp, unix):
            listener.listen()
        found = run_escape(escapes.reach_out, json.dumps({"port": port, "file": str(tmp_path / "s")}).encode())
        assert "done" not in found.values(), found
        assert {name: result for name, result in found.items() if name.startswith("native")} == {
            name: "PermissionError" for name in ("native tcp", "native udp", "native unix", "native raw")
        }
        for listener in (tcp, udp, unix):
            listener.settimeout(0.2)
            with pytest.raises(TimeoutError):
                listener.recv(1) if listener is udp else listener.accept()


def test_the_listeners_of_that_test_do_hear_a_process_that_is_not_shut_in() -> None:
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        data = json.dumps({"port": tcp.getsockname()[1], "file": "/nowhere"})
        code = f"from {NAME} import reach_out; print(reach_out({data.encode()!r}, '', None).decode())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
        found = json.loads(json.loads(done.stdout)["elements"][0][1])
        assert (found["tcp"], found["native tcp"], found["native udp"]) == ("done", "done", "done")
        tcp.settimeout(5)
        tcp.accept()[0].close()


def test_nothing_is_written_outside_the_own_folder_and_that_is_removed(tmp_path: Path) -> None:
    (tmp_path / "existing").write_text("as it was")
    found = run_escape(escapes.write_everywhere, os.fsencode(tmp_path))
    folder = Path(found.pop("folder"))
    assert found.pop("own folder") == "done"
    assert set(found.values()) == {"PermissionError"}, found
    assert [path.name for path in tmp_path.iterdir()] == ["existing"]
    assert (tmp_path / "existing").read_text() == "as it was"
    assert folder.name.startswith("rag-parsing-")
    assert not folder.exists()


def test_no_program_and_no_process_is_started_and_none_is_touched() -> None:
    found = run_escape(escapes.start_programs, str(os.getpid()).encode())
    assert set(found.values()) == {"PermissionError"}, found


def test_no_secret_and_no_descriptor_reaches_a_parsing_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    FORK_SERVER.close()  # so that it starts with this environment
    monkeypatch.setenv("QDRANT_API_KEY", "canary-secret")
    with (tmp_path / "ledger").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        found = run_escape(escapes.look_around, str(os.getpid()).encode())
    assert "canary-secret" not in json.dumps(found)
    assert "TMPDIR" in dict(found["environment"])
    assert "PATH=" in found["own"]
    assert found["descriptors"] == ["0", "1", "2", "3"]
    assert found["others"] == {"parent's environment": "PermissionError", "server's environment": "PermissionError"}


HOOK = f"""
import os, socket, subprocess, sys
from pathlib import Path
from rag_pipeline.adapters.parsing.sandbox import refuse_events
from {NAME} import results_of
inside, outside = Path(sys.argv[1], "inside"), Path(sys.argv[1], "outside")
inside.mkdir()
outside.mkdir()
refuse_events(inside)
print(results_of({{
    "inside": lambda: (inside / "a").write_text("a"),
    "read": lambda: Path(os.__file__).read_text(),
    "outside": lambda: (outside / "a").write_text("a"),
    "up": lambda: (inside / ".." / "outside" / "a").write_text("a"),
    "descriptor": lambda: os.open(outside / "a", os.O_WRONLY | os.O_CREAT),
    "folder": (outside / "b").mkdir,
    "connect": lambda: socket.create_connection(("127.0.0.1", 9), 1),
    "dns": lambda: socket.getaddrinfo("leak.example.org", 80),
    "program": lambda: subprocess.run(["true"]),
    "system": lambda: os.system("true"),
    "fork": os.fork,
}}))
"""


def test_the_hook_alone_refuses_connections_programs_and_writes(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", HOOK, str(tmp_path)], capture_output=True, text=True, check=True, timeout=30)
    found = eval(done.stdout)
    assert {name for name, result in found.items() if result == "done"} == {"inside", "read"}
    assert {result for result in found.values() if result != "done"} == {"PermissionError"}
    assert not list((tmp_path / "outside").iterdir())
