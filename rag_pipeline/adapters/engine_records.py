"""What was chosen for a model on this machine, remembered, so that the next process need not try again."""

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rag_pipeline.adapters.arithmetic import Way

_FORMAT = 2
"""Raised when what is tried, or how, changes."""
_LIBRARIES = ("openvino", "sentence-transformers", "torch", "transformers")
_ACCELERATORS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Devices that a GPU shows as on Linux. Where one appears, the CPU's choice no longer holds."""


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """A choice and its evidence."""

    way: Way
    evidence: Mapping[str, Any]


class EngineRecords:
    """One small JSON file for each combination of weights, settings, CPU and library versions."""

    def __init__(self, cache_dir: Path | None) -> None:
        self._folder = cache_dir / "engines" if cache_dir else None

    def read(self, key: str) -> EngineRecord | None:
        """What is remembered, or None; whatever is in doubt is tried again."""
        try:
            values = json.loads((self._folder / f"{key}.json").read_text(encoding="utf-8")) if self._folder else {}
            way = Way(values["engine"], values["dtype"], values.get("attention", ""))
            return EngineRecord(way, dict(values["evidence"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, key: str, record: EngineRecord) -> None:
        """Remembers the choice; a folder that cannot be written costs time and nothing else."""
        if self._folder is None:
            return
        values = {**asdict(record.way), "evidence": record.evidence}
        draft = self._folder / f"{key}.{os.getpid()}.tmp"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(values), encoding="utf-8")
            draft.replace(self._folder / f"{key}.json")
        except OSError:
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def record_key(**what: Any) -> str:
    """A digest of what a choice depends on: what the caller names, the CPU, and the versions of the libraries."""
    accelerators = [path for path in _ACCELERATORS if Path(path).exists()]
    whole = {**what, "format": _FORMAT, "cpu": _cpu(), "libraries": library_versions(), "accelerators": accelerators}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:32]


def library_versions() -> dict[str, str]:
    """Versions of the libraries that compute vectors, without importing one."""
    versions = {}
    for name in _LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _cpu() -> list[str]:
    """Name and abilities of the CPU; another machine may share the folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    except OSError:
        return [platform.machine(), platform.processor()]
    wanted = ("model name", "flags", "CPU part", "Features")
    return [platform.machine(), *(line for line in lines if line.partition("\t")[0] in wanted)]
