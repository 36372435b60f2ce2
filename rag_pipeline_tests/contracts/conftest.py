"""What several contract suites run against."""

from collections.abc import Iterator
from typing import Any

import pytest

from rag_pipeline_tests.object_store import running_s3, s3_client


@pytest.fixture(scope="session")
def s3_options() -> Iterator[dict[str, Any]]:
    with running_s3() as options:
        yield options


@pytest.fixture(scope="session")
def s3_system(s3_options: dict[str, Any]) -> Any:
    return s3_client(s3_options)
