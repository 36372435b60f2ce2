"""Every error that the pipeline raises on purpose, and what each one asks for.

::

    RagPipelineError
    ├── SettingsError            fix     the operator edits the settings; never retried
    │   ├── MissingExtraError    fix     the operator installs an extra
    │   └── ModelChangedError    fix     the files of a model that a collection needs are gone or are others now
    ├── DocumentError            skip    one document goes to quarantine; the run goes on
    │   ├── ParseError                   malformed, encrypted, of an unknown type ...
    │   ├── ParseLimitError              too large, too slow, too much memory, a crash of the child
    │   ├── EmptyDocumentError           no text came out
    │   └── UnstableDocumentError        changed while it was read, or cannot be read
    ├── BackendError             -       an outside system failed; says which
    │   ├── BackendUnavailableError  retry   it may answer later
    │   ├── BatchTooLargeError       retry   with half the batch
    │   └── BackendRejectedError     stop    it will never take this request
    ├── SourceUnavailableError   stop    a source could not be listed whole: nothing may be deleted
    ├── DeleteBrakeError         stop    too much would be deleted without an approval
    ├── StoreLockedError         retry   another process holds the embedded store or the writer lock
    │   └── StaleWriterError     stop    a later writer took the lock from this one; nothing of it may be written
    ├── BadVectorError           stop    the model made a vector that must not be stored
    ├── TruncationError          stop    the model would cut a text
    └── ReleaseBlockedError      stop    a candidate may not go live; the live collection stays
        └── ApprovalWantedError  fix     it may, as soon as somebody says so

A message says what happened, to which id, and what to do next. It never holds document text or a secret.
Outside exceptions are translated once, in the adapter that imports their library.
"""


class RagPipelineError(Exception):
    """Root of the tree: every failure that the pipeline foresees."""


class SettingsError(RagPipelineError):
    """The settings are wrong; the message names the field and the remedy in one line."""


class MissingExtraError(SettingsError):
    """A setting needs a package that is not installed."""

    def __init__(self, *, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional package: pip install '.[{extra}]' in the folder of rag-pipeline")
        self.extra = extra


class ModelChangedError(SettingsError):
    """A collection needs a model whose files are gone or are not the ones that it was built with."""


class DocumentError(RagPipelineError):
    """One document cannot be indexed. ``reason`` is a short stable word, shown and counted in the quarantine."""

    reason = "unreadable"

    def __init__(self, detail: str, *, reason: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if reason is not None:
            self.reason = reason


class ParseError(DocumentError):
    """The bytes are not a document that a parser understands."""

    reason = "malformed"


class ParseLimitError(DocumentError):
    """Parsing passed a limit: time, memory, size, or the child process died."""

    reason = "limit"


class EmptyDocumentError(DocumentError):
    """Parsing worked and gave no text."""

    reason = "no_text"


class UnstableDocumentError(DocumentError):
    """The document changed while it was read, or could not be opened."""

    reason = "unreadable"


class BackendError(RagPipelineError):
    """An outside system failed. ``system`` names it."""

    def __init__(self, message: str, *, system: str) -> None:
        super().__init__(f"{system}: {message}")
        self.system = system


class BackendUnavailableError(BackendError):
    """The system did not answer; the same request may work later."""


class BatchTooLargeError(BackendError):
    """The batch does not fit in memory or in one request; half of it may."""


class BackendRejectedError(BackendError):
    """The system refuses this request for good."""


class SourceUnavailableError(RagPipelineError):
    """A source could not be listed whole, so its silence says nothing about deletions."""


class DeleteBrakeError(RagPipelineError):
    """More documents are gone than the brake lets pass without an approval."""


class StoreLockedError(RagPipelineError):
    """Another process holds the embedded store, or the writer lock, and did not let go in time."""


class StaleWriterError(StoreLockedError):
    """This process lost the writer lock to a later holder, so whatever it still wants to write is out of date."""


class BadVectorError(RagPipelineError):
    """A vector has the wrong dimension, is not finite, or has no usable length."""


class TruncationError(RagPipelineError):
    """A text is longer than the model reads; embedding it would cut it in silence."""


class ReleaseBlockedError(RagPipelineError):
    """The candidate may not go live; the message holds the measured and the required value."""


class ApprovalWantedError(ReleaseBlockedError):
    """The candidate passed the gate and ``release.mode`` is ``approval``: somebody has to say yes."""
