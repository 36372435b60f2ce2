"""Why a run failed, as its events tell."""

from collections.abc import Iterable

import dagster as dg


def cause_of(failures: Iterable[dg.DagsterEvent]) -> str | None:
    """What the first step failure that says something says: our own words, else the innermost error's message."""
    for event in failures:
        data = event.step_failure_data
        failure = data.user_failure_data
        if failure is not None and failure.description:
            return failure.description
        error = data.error
        while error is not None and error.cause is not None:
            error = error.cause
        if error is not None:
            return error.message.strip()
    return None
