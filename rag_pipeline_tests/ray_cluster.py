"""A Ray cluster of two nodes on loopback, the second of which can be switched off as a machine that loses its power."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

STORE_BYTES = 100 * 2**20
"""Ray's smallest object store is 75 MiB; nothing of ours lies in it."""
LOOPBACK = "127.0.0.1"


class TwoNodes:
    """Room for one run on each."""

    def __init__(self, cluster: Any, address: str) -> None:
        self.address = address
        """Of the job server."""
        self._cluster = cluster
        self._second = cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES, node_ip_address=LOOPBACK)

    def is_on_the_second(self, run_id: str) -> bool:
        """Whether the run's process is there."""
        return any(run_id in " ".join(process.cmdline()) for process in self._processes() if process.is_running())

    def switch_off_the_second(self) -> None:
        """``kill -9`` of all that runs there, at once."""
        for process in self._processes():
            process.kill()

    def _processes(self) -> list[psutil.Process]:
        heads = [psutil.Process(info.process.pid) for infos in self._second.all_processes.values() for info in infos]
        return [process for head in heads for process in [head, *head.children(recursive=True)]]


@contextmanager
def running_ray() -> Iterator[TwoNodes]:
    """The cluster. Its nodes have the environment of this process."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # paths of sockets are at most 107 characters long
    os.environ["RAY_TMPDIR"] = folder
    port = _free_port()
    head = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "node_ip_address": LOOPBACK}
    dashboard = {"include_dashboard": True, "dashboard_host": LOOPBACK, "dashboard_port": port}
    cluster = Cluster(initialize_head=True, head_node_args={**head, **dashboard})
    try:
        yield TwoNodes(cluster, f"http://{LOOPBACK}:{port}")
    finally:
        left = psutil.Process().children(recursive=True)
        cluster.shutdown()
        _end([process for process in left if folder in _command(process)])
        shutil.rmtree(Path(folder), ignore_errors=True)


def _end(processes: list[psutil.Process]) -> None:
    """What Ray left behind."""
    for process in processes:
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
