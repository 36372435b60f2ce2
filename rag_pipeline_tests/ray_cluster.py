"""A Ray cluster of two nodes on loopback, the second of which can be switched off as a machine that loses its power."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

STORE_BYTES = 100 * 2**20
"""Ray's smallest object store is 75 MiB; nothing of ours lies in it."""
LOOPBACK = "127.0.0.1"
ADDRESSES = ("127.0.0.2", "127.0.0.3")
"""Of the nodes: as loopback as the first, which Ray takes for the address that others do not reach."""


class TwoNodes:
    """Room for one run on each."""

    def __init__(self, cluster: Any, address: str) -> None:
        self.address = address
        """Of the job server."""
        self._second = cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES, node_ip_address=ADDRESSES[1])

    def is_on_the_second(self, run_id: str) -> bool:
        """Whether the run's process is there."""
        return any(run_id in _command(process) for process in self._processes())

    def switch_off_the_second(self) -> None:
        """``kill -9`` of all that runs there, at once."""
        _end(self._processes())

    def _processes(self) -> list[psutil.Process]:
        return _processes_of(self._second)


@contextmanager
def running_ray() -> Iterator[TwoNodes]:
    """The cluster. Its nodes have the environment of this process."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # paths of sockets are at most 107 characters long
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": folder})
    from ray.cluster_utils import Cluster

    port = _free_port()
    head = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "node_ip_address": ADDRESSES[0]}
    dashboard = {"include_dashboard": True, "dashboard_host": LOOPBACK, "dashboard_port": port}
    cluster = Cluster(initialize_head=True, head_node_args={**head, **dashboard})
    try:
        yield TwoNodes(cluster, f"http://{LOOPBACK}:{port}")
    finally:
        left = [process for node in cluster.list_all_nodes() for process in _processes_of(node)]
        cluster.shutdown()
        _end(left)
        del os.environ["RAY_TMPDIR"]
        shutil.rmtree(Path(folder), ignore_errors=True)


def _processes_of(node: Any) -> list[psutil.Process]:
    """All that runs there; none that has ended."""
    found: list[psutil.Process] = []
    for info in (info for infos in node.all_processes.values() for info in infos):
        with suppress(psutil.NoSuchProcess):
            head = psutil.Process(info.process.pid)
            found += [head, *head.children(recursive=True)]
    return found


def _end(processes: list[psutil.Process]) -> None:
    """The hard way."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
