"""Errors of databases as errors of the pipeline."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from rag_pipeline.errors import BackendError, BackendRejectedError, BackendUnavailableError

SYSTEM = "ledger"

_UNAVAILABLE = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError, exc.DisconnectionError)


@contextmanager
def translated_errors(address: str) -> Iterator[None]:
    """Around every use of the database. ``address`` names it without a password."""
    try:
        yield
    except exc.SQLAlchemyError as error:
        raise translate(error, address) from error


def translate(error: exc.SQLAlchemyError, address: str) -> BackendError:
    """Unavailable where the same statement may work later, rejected where it never will."""
    cause = getattr(error, "orig", None) or error
    text = f"{type(cause).__name__}: {(str(cause).splitlines() or [''])[0]}" if cause is not error else type(error).__name__
    if isinstance(error, _UNAVAILABLE):
        return BackendUnavailableError(f"{address} did not answer ({text}); check that it is there and not full", system=SYSTEM)
    return BackendRejectedError(
        f"{address} refused a statement ({text}); check that it is the ledger of this version", system=SYSTEM
    )
