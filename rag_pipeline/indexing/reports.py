"""What a run tells when it is done: the parts that its assets leave in the ledger, and the whole."""

from collections.abc import Mapping
from typing import Any

from rag_pipeline.indexing.build import BuildReport
from rag_pipeline.indexing.changes import ChangeKind
from rag_pipeline.indexing.release import Release
from rag_pipeline.indexing.scan_report import ScanResult
from rag_pipeline.indexing.status import DocumentCounts
from rag_pipeline.ports import Ledger

Parts = Mapping[str, Mapping[str, Any]]
DOCUMENT_COUNTS = ("new", "modified", "renamed", "deleted", "unchanged", "excluded")


def scan_values(scan: ScanResult) -> dict[str, Any]:
    """The part of ``source_manifest``."""
    return {
        "generation": scan.generation,
        "has_changes": scan.has_changes,
        "documents": {name: getattr(scan.counts, name) for name in DOCUMENT_COUNTS},
        "blocked": scan.counts.blocked,
        "modified": [key for key, kind in scan.kinds.items() if kind is ChangeKind.MODIFIED],
        "renamed": [key for key, kind in scan.kinds.items() if kind is ChangeKind.RENAMED],
        "problems": list(scan.problems),
        "seconds": scan.seconds,
    }


def build_values(report: BuildReport) -> dict[str, Any]:
    """The part of the bucket assets."""
    return {
        "parsed": report.parsed,
        "quarantined": report.quarantined,
        "chunks": {"total": report.chunks, "embedded": report.embedded, "reused": report.chunks - report.embedded},
        "points": {"upserted": report.upserted, "deleted": report.deleted, "total": report.points},
        "masked": dict(sorted(report.entities.items())),
        "touched": report.touched,
        "tokens": report.tokens,
        "longest_tokens": report.longest_tokens,
        "seconds": report.seconds,
        "lanes": lane_values(report),
    }


def lane_values(report: BuildReport) -> dict[str, Any]:
    """Where the wall time went: of each stage what it worked, and what it waited for input and for room to pass on."""
    lanes = {
        stage: {name: round(getattr(times, name), 3) for name in ("busy_s", "input_wait_s", "output_wait_s")}
        for stage, times in report.lanes.items()
    }
    return {"wall_s": round(report.wall_s, 3), "bottleneck": report.bottleneck, "stages": lanes}


def release_values(release: Release, *, counts: DocumentCounts) -> dict[str, Any]:
    """The part of ``live_collection``."""
    return {
        "collection": release.collection,
        "previous": release.previous,
        "switched": release.is_switched,
        "reason": release.reason,
        "documents": counts.documents,
        "quarantined": counts.quarantined,
    }


def find_problems(parts: Parts, *, fail_share: float) -> list[str]:
    """Why a run whose work is done must not look green: deletions held back, a source not listed, too much quarantine."""
    problems = list(parts.get("scan", {}).get("problems", []))
    release = parts.get("release", {})
    documents, quarantined = release.get("documents", 0), release.get("quarantined", 0)
    if documents and quarantined / documents > fail_share:
        problems.append(
            f"{quarantined} of {documents} documents are in quarantine, more than quarantine.fail_share {fail_share:g}; "
            "see rag quarantine list"
        )
    return problems


def find_refusal(parts: Parts) -> str | None:
    """Why the gate of a run refused its candidate, or None."""
    gate = parts.get("gate", {})
    refused = [f"{check['name']}: {check['summary']}" for check in gate.get("checks", ()) if not check["passed"]]
    return f"{gate['collection']} was refused, the live collection stays. " + "; ".join(refused) if refused else None


def index_values(parts: Parts, ledger: Ledger, *, seconds: float) -> dict[str, Any]:
    """The JSON of ``rag index``. Each document is counted once, a quarantined one only there."""
    scan, build, release = parts.get("scan", {}), parts.get("build", {}), parts.get("release", {})
    nothing = {"total": 0, "embedded": 0, "reused": 0}
    return {
        "generation": scan.get("generation", 0),
        "collection": release.get("collection"),
        "documents": count_each_once(scan, ledger),
        "parsed": build.get("parsed", 0),
        "chunks": build.get("chunks", nothing),
        "points": build.get("points", {"upserted": 0, "deleted": 0, "total": 0}),
        "tokens": build.get("tokens", 0),
        "switched": release.get("switched", False),
        "problems": scan.get("problems", []),
        "seconds": {"scan": scan.get("seconds", 0.0), **build.get("seconds", {}), "total": seconds},
        "lanes": build.get("lanes", lane_values(BuildReport())),
    }


def count_each_once(scan: Mapping[str, Any], ledger: Ledger) -> dict[str, int]:
    """Documents by what the scan found; one that is in quarantine counts only there."""
    counts = {name: scan.get("documents", {}).get(name, 0) for name in DOCUMENT_COUNTS}
    failed = {entry.document_id for entry in ledger.quarantine()}
    documents = ledger.documents().values() if failed else ()
    quarantined = [record for record in documents if record.document_id in failed]
    modified, renamed = set(scan.get("modified", ())), set(scan.get("renamed", ()))
    for record in quarantined:
        is_fresh = scan.get("has_changes", False) and record.generation == scan.get("generation")
        if not is_fresh:
            kind = "unchanged"
        elif record.document_id in modified:
            kind = "modified"
        else:
            kind = "renamed" if record.document_id in renamed else "new"
        counts[kind] -= 1
    return {**counts, "quarantined": len(quarantined)}
