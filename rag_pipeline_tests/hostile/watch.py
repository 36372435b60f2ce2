"""What no input may do: connect to anybody, write outside, show a file that it points to."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir

from rag_pipeline_tests.hostile.case import CANARY_FILE, CANARY_WORDS, LISTENER_ADDRESS, OUTSIDE
from rag_pipeline_tests.hostile.inputs_pdf import plant

_TREE_LEVELS = 8


@contextlib.contextmanager
def watched(folder: Path, address: tuple[str, int] = LISTENER_ADDRESS) -> Iterator[None]:
    """Fails at its end if anybody connected, or if a file that only an attack would write is there."""
    CANARY_FILE.write_text(CANARY_WORDS)
    plant()
    places = {Path(gettempdir()), Path.cwd(), Path("/"), folder, *list(folder.parents)[:_TREE_LEVELS]}
    before = _listing(folder)
    with listening(address) as listener:
        yield
        assert _callers(listener) == 0
    assert [place / name for place in places for name in OUTSIDE if (place / name).exists()] == []
    assert _listing(folder) == before
    assert not [path for path in folder.rglob("*") if path.name in OUTSIDE]


@contextlib.contextmanager
def listening(address: tuple[str, int]) -> Iterator[socket.socket]:
    """A listener at the address; several test processes may share it."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen()
        listener.setblocking(False)
        yield listener


def _callers(listener: socket.socket) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            count += 1
    return count


def _listing(folder: Path) -> list[str]:
    """Everything in the folder but what the pipeline itself keeps there."""
    return sorted(str(path) for path in folder.rglob("*") if ".rag" not in path.relative_to(folder).parts)
