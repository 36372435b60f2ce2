"""A real S3 server on loopback for tests: moto over HTTP, spoken to by s3fs as in production."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
from moto.server import ThreadedMotoServer

BUCKET = "rag-pipeline-test"
"""A bucket that exists."""


@contextmanager
def running_s3() -> Iterator[dict[str, Any]]:
    """The ``storage_options`` that reach the server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"key": "test", "secret": "test", "endpoint_url": f"http://{host}:{port}"}
    try:
        s3_client(options).mkdirs(BUCKET, exist_ok=True)  # moto keeps its buckets for the life of the process
        yield options
    finally:
        server.stop()


def s3_client(options: dict[str, Any]) -> Any:
    """A file system of its own, as another program would have."""
    return fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False, **options)
