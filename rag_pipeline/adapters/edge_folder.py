"""The files around the embedded engine's shards: collections as folders, their specs, the aliases.

::

    <root>/lock              held by the one process that uses the store
    <root>/lock.json         who that is
    <root>/waiting           touched by a process that waits for the lock
    <root>/aliases.json      {"docs": "docs-7f3a91c2-1"}
    <root>/collections/<name>/collection.json    dimension, distance, metadata; which shard, once one was written anew
    <root>/collections/<name>/shard/             the engine's own files; shard-2, shard-3 ... after a purge
    <root>/collections/.<name>.*                 half made or half dropped: swept at the next opening

A name appears and disappears by one rename, a JSON file changes by one rename, each made durable before and after.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rag_pipeline.adapters.qdrant_layout import check_name, rejected

_SPEC = "collection.json"


class EdgeFolder:
    """Names, specs and aliases below one root. Reading creates nothing and needs no lock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._collections = root / "collections"
        self._aliases = root / "aliases.json"

    def free_bytes(self) -> int:
        """Free space on the disk of the folder, which need not be there yet."""
        return shutil.disk_usage(next(folder for folder in (self.root, *self.root.parents) if folder.exists())).free

    def names(self) -> list[str]:
        """Collections that were made whole, sorted."""
        if not self._collections.is_dir():
            return []
        return sorted(entry.name for entry in self._collections.iterdir() if self.is_whole(entry.name))

    def is_whole(self, name: str) -> bool:
        """Whether the collection has its spec and a shard to load."""
        folder = self._collections / name
        is_spec_there = (folder / "collection.json").is_file()
        return not name.startswith(".") and is_spec_there and (self.shard(name) / "edge_config.json").is_file()

    def exists(self, name: str) -> bool:
        """Whether anything stands under the name, whole or not."""
        check_name(name)
        return (self._collections / name).exists()

    def shard(self, name: str) -> Path:
        """Folder of the engine's files."""
        folder = self._collections / name
        return folder / str((_read_json(folder / _SPEC) or {}).get("shard", "shard"))

    def start_shard(self, name: str) -> Path:
        """Folder for a shard that takes the place of the present one with ``use_shard``."""
        number = int(self.shard(name).name.partition("-")[2] or 1)
        draft = self.shard(name).with_name(f"shard-{number + 1}")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        return draft

    def use_shard(self, name: str, shard: Path) -> None:
        """Makes the shard that of the collection by one rename of its spec, then deletes the former."""
        former = self.shard(name)
        self.write_spec(name, {**(self.read_spec(name) or {}), "shard": shard.name})
        shutil.rmtree(former)

    def read_spec(self, name: str) -> dict[str, Any] | None:
        """Dimension, distance and metadata of a collection, or None where there is none."""
        check_name(name)
        return _read_json(self._collections / name / "collection.json") if self.is_whole(name) else None

    def write_spec(self, name: str, spec: Mapping[str, Any]) -> None:
        """Replaces the spec of a collection."""
        _write_json(self._collections / name / "collection.json", spec)

    def start(self, name: str, spec: Mapping[str, Any]) -> Path:
        """Folder for the shard of a collection that nobody sees before ``finish``."""
        check_name(name)
        draft = self._draft(name)
        shutil.rmtree(draft, ignore_errors=True)
        (draft / "shard").mkdir(parents=True)
        _write_json(draft / "collection.json", spec)
        return draft / "shard"

    def finish(self, name: str) -> None:
        """Gives the draft its name; what stood there without a spec or a shard goes away."""
        if self.exists(name):
            self.remove(name)
        self._draft(name).rename(self._collections / name)
        _sync_folder(self._collections)

    def remove(self, name: str) -> None:
        """Takes the name away in one step, then deletes the files."""
        check_name(name)
        folder, tomb = self._collections / name, self._collections / f".{name}.dropped"
        shutil.rmtree(tomb, ignore_errors=True)
        folder.rename(tomb)
        _sync_folder(self._collections)
        shutil.rmtree(tomb, ignore_errors=True)

    def sweep(self) -> None:
        """Deletes what a crash left half made or half dropped. Only under the lock."""
        for leftover in self._collections.glob(".*"):
            shutil.rmtree(leftover, ignore_errors=True)
        for name in self.names():
            for shard in self._collections.joinpath(name).glob("shard*"):
                if shard != self.shard(name):
                    shutil.rmtree(shard, ignore_errors=True)

    def aliases(self) -> dict[str, str]:
        """Collection by alias."""
        return _read_json(self._aliases) or {}

    def write_alias(self, alias: str, collection: str) -> None:
        """Points the alias at the collection by one rename of the file that holds all aliases."""
        _write_json(self._aliases, {**self.aliases(), alias: collection})

    def _draft(self, name: str) -> Path:
        return self._collections / f".{name}.new"


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise rejected(f"{path} is damaged; restore it, or delete its folder and run rag index") from error
    return value if isinstance(value, dict) else None


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, sort_keys=True, indent=1)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    """Makes renames inside the folder survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
