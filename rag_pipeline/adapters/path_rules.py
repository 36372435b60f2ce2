"""The include and exclude globs of a source, compiled once.

Patterns are matched against the path below the root. ``*`` stays within one folder, ``**/`` is any number of folders,
none included, ``{a,b}`` is either. Hidden files are files like others. As in ``.gitignore``, a folder that matches an exclude is
left out with all that is below it.
"""

import re
from collections.abc import Callable, Iterable

from wcmatch import glob

from rag_pipeline.settings import SourceSettings

Match = Callable[[str], object]

_FLAGS = glob.GLOBSTAR | glob.DOTGLOB | glob.BRACE | glob.FORCEUNIX
_ANY_FOLDER = "**/"
_ALL_BELOW = "/**"
_EVERYTHING = {"**", "**/*"}
_BYTES_PER_MB = 1024 * 1024


class PathRules:
    """What the settings of a source say about a path and a size.

    Nearly all patterns name a file or folder anywhere (``**/*.md``, ``**/.git/**``). These are matched against the last part
    alone, which is 20 times as fast as against the path.
    """

    def __init__(self, settings: SourceSettings) -> None:
        self.size_max_bytes = int(settings.max_size_mb * _BYTES_PER_MB)
        self._include_name, self._include_path = _compile_split(settings.include)
        self._includes_all = not _EVERYTHING.isdisjoint(settings.include)
        folders, others = _split(settings.exclude, _folder_name)
        self._exclude_folder = _compile(folders)
        self._exclude_name, self._exclude_path = _compile_split(others)

    def is_folder_excluded(self, path: str, name: str) -> bool:
        """Whether the folder, and so all below it, is left out. ``name`` is the last part of ``path``."""
        return bool(self._exclude_folder(name) or self._exclude_name(name) or self._exclude_path(path + "/"))

    def is_file_included(self, path: str, name: str) -> bool:
        """Whether the file is taken, its folders already being in."""
        if self._exclude_name(name) or self._exclude_path(path):
            return False
        return self._includes_all or bool(self._include_name(name) or self._include_path(path))


def _name(pattern: str) -> str | None:
    """``*.md`` of ``**/*.md``; None when the pattern is about more than the last part."""
    rest = pattern.removeprefix(_ANY_FOLDER)
    return rest if rest != pattern and "/" not in rest and "**" not in rest else None


def _folder_name(pattern: str) -> str | None:
    """``.git`` of ``**/.git/**``."""
    rest = pattern.removesuffix(_ALL_BELOW)
    return _name(rest) if rest != pattern else None


def _split(patterns: Iterable[str], part: Callable[[str], str | None]) -> tuple[list[str], list[str]]:
    found = {pattern: part(pattern) for pattern in patterns}
    return [name for name in found.values() if name is not None], [pattern for pattern in found if found[pattern] is None]


def _compile_split(patterns: Iterable[str]) -> tuple[Match, Match]:
    names, paths = _split(patterns, _name)
    return _compile(names), _compile(paths)


def _compile(patterns: list[str]) -> Match:
    if not patterns:
        return lambda _: None
    positive, _ = glob.translate(patterns, flags=_FLAGS)
    return re.compile("|".join(f"(?:{pattern})" for pattern in positive)).match
