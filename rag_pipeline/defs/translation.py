"""Our errors as Dagster's."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from rag_pipeline.errors import BackendUnavailableError, RagPipelineError, StaleWriterError, StoreLockedError

RETRY_AFTER_S = 30


@contextmanager
def translated() -> Iterator[None]:
    """Retried where that may help, else failed with the one message that matters."""
    try:
        yield
    except StaleWriterError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    except (BackendUnavailableError, StoreLockedError) as error:
        raise dg.RetryRequested(max_retries=2, seconds_to_wait=RETRY_AFTER_S) from error
    except RagPipelineError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
