"""From the settings of a source to the adapter that its URL asks for."""

import os
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rag_pipeline.adapters.fsspec_source import FsspecSource
from rag_pipeline.adapters.local_folder import LocalFolderSource
from rag_pipeline.errors import MissingExtraError, SettingsError
from rag_pipeline.ports import Clock, DocumentSource
from rag_pipeline.settings import SourceSettings

_EXTRAS = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "gcs": ("gcsfs", "gcs")}


def open_source(settings: SourceSettings, *, base: Path, clock: Clock | None = None) -> DocumentSource:
    """The source that the settings describe; ``base`` is the folder that relative paths start from.

    Nothing is read yet. Raises MissingExtraError where the URL needs a package that is not installed, SettingsError for an
    unknown protocol.
    """
    root = local_root(settings.url, base=base)
    if root is not None:
        return LocalFolderSource(settings, root=root, url=_local_address(settings.url), clock=clock)
    _check_protocol(settings)
    return FsspecSource(settings, clock=clock)


def local_root(url: str, *, base: Path) -> Path | None:
    """The folder that a path or a ``file://`` URL names, absolute; None for every other URL."""
    if url.startswith("file://"):
        return Path(unquote(urlsplit(url).path))
    if "://" in url or "::" in url:
        return None
    return Path(os.path.abspath(base / Path(url).expanduser()))  # noqa: PTH100 - resolve() would follow a root that is a link


def _local_address(url: str) -> str:
    return url if url.startswith("file://") else os.path.normpath(url)


def _check_protocol(settings: SourceSettings) -> None:
    from fsspec.registry import known_implementations, registry

    protocol = settings.url.partition("::")[0].partition("://")[0]
    package, extra = _EXTRAS.get(protocol, ("", ""))
    if package and find_spec(package) is None:
        raise MissingExtraError(feature=f"sources.{settings.name}.url '{protocol}://'", extra=extra)
    if protocol not in known_implementations and protocol not in registry:
        raise SettingsError(
            f"sources.{settings.name}.url: '{protocol}' is no protocol that fsspec knows; use a folder, s3:// or gs://"
        )
