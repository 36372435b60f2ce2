"""What the file systems behind fsspec raise when something is wrong outside."""

import sys

_FOREIGN = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("aiohttp", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("azure.core.exceptions", "AzureError"),
    ("paramiko", "SSHException"),
)


def remote_errors() -> tuple[type[Exception], ...]:
    """Exception classes to catch around any call of fsspec, of those libraries that are loaded at this moment."""
    loaded = [(sys.modules[module], name) for module, name in _FOREIGN if module in sys.modules]
    return (OSError, *(getattr(module, name) for module, name in loaded))


def describe_error(error: Exception) -> str:
    """Kind of the error, without its text: that may hold a signed URL or a key."""
    kind = type(error).__name__
    return f"{kind}: {error.strerror}" if isinstance(error, OSError) and error.errno and error.strerror else kind
