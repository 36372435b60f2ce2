"""Collections on their way to the alias and away from it, and what was decided about them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class CollectionState(StrEnum):
    """Where a collection stands between its first point and its end; drawn in docs/releases.md."""

    BUILDING = "building"
    CAUGHT_UP = "caught_up"
    """Every bucket was in step with the sources at one time."""
    VALIDATED = "validated"
    """Passed the gate; waits for the switch, or for somebody's approval."""
    LIVE = "live"
    RETIRED = "retired"
    """Was live; kept fresh for the grace time, so that a rollback is never stale."""
    REFUSED = "refused"
    """The gate, a rollback or another change of the settings said no; remembered with its reason."""
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """The ledger's row of a physical collection. Who is live, the alias alone says."""

    name: str
    alias: str
    fingerprint: str
    """Of its vector space, which never changes."""
    state: CollectionState
    spec: Mapping[str, Any]
    """The whole spec, as JSON values: for a complete collection the one that it holds, else the one it is built to."""
    reason: str = ""
    """Why it was refused, retired or dropped."""
    changed_ns: int = 0
    """When it came into this state."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Something that was decided about an index: a gate, a switch, a rollback, a drop, a repair."""

    at_ns: int
    kind: str
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GateCheck:
    """One thing that must hold before a candidate goes live."""

    name: str
    """``fsck``, ``retrieval``, ``latency``, ``canaries`` or ``neighbours``."""
    passed: bool
    summary: str
    """One line with what was measured and what is required."""
    evidence: Mapping[str, Any]
    """The figures behind it, as JSON values."""


@dataclass(frozen=True, slots=True)
class GateReport:
    """What a gate found."""

    collection: str
    live: str | None
    content_digest: str
    """Of the content that was judged; other content has to be judged again."""
    checks: tuple[GateCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether the candidate may go live."""
        return all(check.passed for check in self.checks)

    @property
    def reasons(self) -> list[str]:
        """The checks that refused it, a line each."""
        return [f"{check.name}: {check.summary}" for check in self.checks if not check.passed]


@dataclass(frozen=True, slots=True)
class Block:
    """A document that was erased and stays out. Neither its path nor anything of its text is kept."""

    document_id: str
    content_hash: str
    """Of what was erased: a copy under another name stays out too."""
    erasure: str
    """Which erasure asked for it."""
    at_ns: int
