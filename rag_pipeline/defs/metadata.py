"""Reports to what the web UI shows beside an asset."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from rag_pipeline.adapters.size_histogram import draw_histogram
from rag_pipeline.indexing.build import BuildReport
from rag_pipeline.indexing.chunks import HISTOGRAM_STEP_TOKENS
from rag_pipeline.indexing.quarantine import remedy_for
from rag_pipeline.indexing.reports import lane_values
from rag_pipeline.schema import QuarantineEntry


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> dg.TableMetadataValue:
    """A table with named columns."""
    records = [dg.TableRecord({c: str(value) for c, value in zip(columns, row, strict=True)}) for row in rows]
    schema = dg.TableSchema(columns=[dg.TableColumn(name) for name in columns])
    return dg.MetadataValue.table(records=records, schema=schema)


def rate(amount: float, seconds: float) -> float:
    """Amount a second; 0 where nothing was done."""
    return round(amount / seconds, 1) if seconds > 0 and amount else 0.0


QUARANTINE_ROWS = 50
"""Of the table in the web UI; ``rag quarantine list`` has all."""


def documents_metadata(report: BuildReport, quarantine: Sequence[QuarantineEntry]) -> Mapping[str, Any]:
    """Of the ``documents`` asset; ``quarantine``: every document in it."""
    failed = [[entry.path, entry.reason, remedy_for(entry.reason)] for entry in quarantine[:QUARANTINE_ROWS]]
    return {
        **_common(report, "documents"),
        "parsed": report.parsed,
        "reused": report.reused,
        "quarantined": report.quarantined,
        "masked": sum(report.entities.values()),
        **{f"masked {kind}": count for kind, count in sorted(report.entities.items())},
        "masking_s": round(report.masking_seconds, 3),
        "documents_per_s": rate(report.parsed, report.seconds["documents"]),
        "preview": table(["path", "type", "elements"], report.documents_preview),
        "quarantine": table(["path", "reason", "what to do"], failed),
    }


def chunks_metadata(report: BuildReport, *, max_tokens: int) -> Mapping[str, Any]:
    """Of the ``chunks`` asset."""
    metadata = {
        **_common(report, "chunks"),
        "documents_chunked": report.chunked,
        "chunks": report.chunks,
        "longest_tokens": report.longest_tokens,
        "preview": table(["title", "first chunk", "chunks"], report.chunks_preview),
    }
    if report.sizes:
        picture = draw_histogram(report.sizes, step=HISTOGRAM_STEP_TOKENS, limit=max_tokens)
        metadata["sizes"] = dg.MetadataValue.md(picture)
    return metadata


def embeddings_metadata(report: BuildReport, *, engine: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of the ``embeddings`` asset; ``engine`` is what the embedder says of itself, empty when it was not needed."""
    padding = 1 - report.tokens / report.padded_tokens if report.padded_tokens else 0.0
    return {
        **_common(report, "embeddings"),
        "embedded": report.embedded,
        "reused": report.chunks - report.embedded,
        "copied_from_other_buckets": report.copied,
        "tokens": report.tokens,
        "tokens_per_s": rate(report.tokens, report.seconds["embeddings"]),
        "padding_share": round(padding, 3),
        "engine": dg.MetadataValue.json(dict(engine)),
    }


def collection_metadata(report: BuildReport, *, collection: str) -> Mapping[str, Any]:
    """Of the ``collection`` asset."""
    return {
        **_common(report, "collection"),
        "collection": collection,
        "upserted": report.upserted,
        "deleted": report.deleted,
        "points": report.points,
        "points_per_s": rate(report.upserted + report.deleted, report.seconds["collection"]),
    }


def candidate_metadata(report: BuildReport) -> Mapping[str, Any]:
    """Of the ``candidate_collection`` asset: cutting, embedding and writing as one work."""
    return {
        "parsed": report.parsed,
        "chunks": report.chunks,
        "embedded": report.embedded,
        "reused": report.chunks - report.embedded,
        "tokens": report.tokens,
        "tokens_per_s": rate(report.tokens, report.seconds["embeddings"]),
        "points": report.points,
        "upserted": report.upserted,
        "deleted": report.deleted,
        **lanes_metadata(report),
    }


def lanes_metadata(report: BuildReport) -> Mapping[str, Any]:
    """Where the wall time of the stages went, which work side by side; each row adds up to it."""
    values = lane_values(report)
    wall_s = values["wall_s"]
    rows = [
        [stage, *times.values(), f"{times['busy_s'] / wall_s:.0%}" if wall_s else "-"]
        for stage, times in values["stages"].items()
    ]
    return {
        "seconds": wall_s,
        "bottleneck": values["bottleneck"] or "-",
        "lanes": table(["stage", "busy s", "waited for input s", "waited for output s", "busy"], rows),
    }


def evidence_metadata(evidence: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a check of the gate: its figures, which the web UI plots, its lists as tables, and all of it as JSON."""
    values: dict[str, Any] = {"evidence": dg.MetadataValue.json(dict(evidence))}
    for name, value in evidence.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            values[name] = table(list(value[0]), [[_plain(field) for field in row.values()] for row in value])
        else:
            values |= _figures(name, value)
    return values


def _plain(field: Any) -> Any:
    return ", ".join(map(str, field)) if isinstance(field, list) else field


def _figures(name: str, value: Any) -> dict[str, Any]:
    """The numbers in a value, however deep, under names that say where they stand; of an interval only the mean."""
    if isinstance(value, Mapping):
        return {key: number for part, below in value.items() for key, number in _figures(f"{name} {part}", below).items()}
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {name.removesuffix(" mean"): round(value, 4)} if is_number else {}


def _common(report: BuildReport, stage: str) -> dict[str, Any]:
    return {
        "buckets": report.buckets,
        "buckets_in_step": report.in_step,
        **lanes_metadata(report),
        "seconds": round(report.seconds[stage], 3),
    }
