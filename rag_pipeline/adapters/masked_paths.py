"""A source whose paths hold no personal data: what everything after it sees, keeps and logs."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath

from rag_pipeline.errors import DocumentError, SourceUnavailableError
from rag_pipeline.ports import DocumentSource, Masker
from rag_pipeline.schema import FileContent, FileStat, Listing

_MASKED = re.compile(r"\[[A-Z][A-Z0-9_]*\]")


class MaskedPathsSource:
    """Port ``DocumentSource`` around another one: ``paid_[KR_RRN]~hdpecaol.pdf`` for a name that holds a resident number."""

    def __init__(self, inner: DocumentSource, masker: Masker) -> None:
        self.name = inner.name
        self._inner = inner
        self._masker = masker
        self._real: dict[str, str] = {}
        """Real path by masked path, where they differ."""

    def list_files(self) -> Listing:
        with self._discreet():
            listing = self._inner.list_files()
        shown = self._shown([file.path for file in listing.files])
        self._real = {masked: path for path, masked in shown.items() if masked != path}
        files = sorted((replace(file, path=shown[file.path]) for file in listing.files), key=lambda file: file.path)
        excluded = tuple(replace(one, path=self._masked(one.path)) for one in listing.excluded)
        return replace(listing, files=tuple(files), excluded=excluded)

    def read(self, path: str) -> FileContent:
        with self._discreet(path):
            return self._inner.read(self._resolve(path))

    def digest(self, path: str) -> tuple[FileStat, str]:
        with self._discreet(path):
            return self._inner.digest(self._resolve(path))

    def stat_digest(self) -> str | None:
        return self._inner.stat_digest()

    def uri(self, path: str) -> str:
        return self._inner.uri(path)

    def shown_as(self, name: str) -> set[str]:
        """Masked paths of the real path or address that somebody names; empty where nothing in it is masked."""
        self.list_files()
        found = {shown for shown, real in self._real.items() if name in (real, self.uri(real), f"{self.name}/{real}")}
        masked, mark = self._masked(name), self._masker.distinguish(name)
        if not found and masked != name and mark:  # the file is gone from the source, and its digest still tells
            found = {_marked(masked, mark)}
        return found

    def _masked(self, path: str) -> str:
        return self._masker.mask_path(self.name, path)

    def _shown(self, paths: list[str]) -> dict[str, str]:
        """What each path is shown as: with a keyed digest of the real one, or, without a key, with its place among its likes."""
        shown: dict[str, str] = {}
        taken: dict[str, int] = {}
        for path in sorted(paths):
            masked = self._masked(path)
            if masked == path:
                shown[path] = path
                continue
            taken[masked] = taken.get(masked, 0) + 1
            shown[path] = _marked(masked, self._masker.distinguish(path) or str(taken[masked]))
        return shown

    def _resolve(self, path: str) -> str:
        if path in self._real or not _MASKED.search(path):
            return self._real.get(path, path)
        self.list_files()
        return self._real.get(path, path)

    @contextmanager
    def _discreet(self, path: str = "") -> Iterator[None]:
        """What the source says of a file, said of its masked path."""
        try:
            yield
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "gone from the source", path) from None
        except DocumentError as error:
            raise type(error)(self._said(error.detail, path), reason=error.reason) from None
        except SourceUnavailableError as error:
            raise SourceUnavailableError(self._said(str(error), path)) from None

    def _said(self, message: str, path: str) -> str:
        real = self._real.get(path)
        return self._masker.mask_text(self.name, message.replace(real, path) if real else message)


def _marked(path: str, mark: str) -> str:
    name = PurePosixPath(path)
    return str(name.with_name(f"{name.name.removesuffix(name.suffix)}~{mark}{name.suffix}"))
