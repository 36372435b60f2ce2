"""What a scenario found, as dataclasses and as JSON: raw values go in, medians are made when they are shown."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.suite.statistics import Ratio, Sample

OURS = "rag-pipeline"


@dataclass(slots=True)
class Row:
    """One system in one configuration."""

    system: str
    variant: str = ""
    """``documented``, ``tuned``, ``limit``, or nothing where there is one way only."""
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    """Of the last repetition: chunks, tokens, points, agreement."""
    failure: str | None = None

    @property
    def name(self) -> str:
        """System and variant."""
        return f"{self.system}, {self.variant}" if self.variant else self.system

    @property
    def wall(self) -> Sample | None:
        """Seconds on the clock."""
        return Sample.of(self.wall_s) if self.wall_s else None

    @property
    def cpu(self) -> Sample | None:
        """Seconds of processor time, children included."""
        return Sample.of(self.cpu_s) if self.cpu_s else None


@dataclass(slots=True)
class ScenarioResult:
    """One scenario: its settings, a row for each system, and what cannot be put into a row."""

    key: str
    title: str
    settings: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """Why a row is missing, and what a reader must know."""
    failure: str | None = None
    seconds: float = 0.0
    machine: dict[str, Any] = field(default_factory=dict)

    @property
    def ours(self) -> Row | None:
        """The row that others are compared with."""
        return next((row for row in self.rows if row.system == OURS and row.wall_s), None)

    def ratio(self, row: Row) -> Ratio | None:
        """How many times longer than ours it took."""
        ours = self.ours
        return Ratio.of(row.wall, ours.wall) if ours and row is not ours and row.wall and ours.wall else None

    def as_json(self) -> dict[str, Any]:
        """Raw values with the medians beside them, for readers without this module."""
        values = asdict(self)
        for row, content in zip(self.rows, values["rows"], strict=True):
            content["summary"] = _summary(self, row)
        return values


def _summary(result: ScenarioResult, row: Row) -> dict[str, Any]:
    if row.wall is None:
        return {}
    ratio = result.ratio(row)
    summary: dict[str, Any] = {
        "wall_s": {"median": row.wall.median, "min": min(row.wall.values), "max": max(row.wall.values), "n": len(row.wall_s)},
        "mark": row.wall.mark,
    }
    return {**summary, "times_ours": asdict(ratio)} if ratio else summary


def from_json(values: Mapping[str, Any]) -> ScenarioResult:
    """The result that ``as_json`` wrote."""
    rows = [Row(**{key: row[key] for key in row if key != "summary"}) for row in values["rows"]]
    return ScenarioResult(**{**values, "rows": rows})


def load(file: Path) -> dict[str, ScenarioResult]:
    """Every result in the file, by key; nothing where there is no file."""
    if not file.exists():
        return {}
    return {key: from_json(values) for key, values in json.loads(file.read_text())["scenarios"].items()}


def save(file: Path, results: Mapping[str, ScenarioResult]) -> None:
    """Writes all results, sorted by key, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"scenarios": {key: results[key].as_json() for key in sorted(results, key=scenario_order)}}
    beside = file.with_suffix(".part")
    beside.write_text(json.dumps(content, indent=1) + "\n")
    beside.replace(file)


def scenario_order(key: str) -> tuple[int, str]:
    """S2 before S10, those without a number last."""
    number = key[1:].partition("-")[0]
    return (int(number) if number.isdigit() else 99, key)
