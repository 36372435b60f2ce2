"""A second look for personal data, in what is stored: the rules that mask must find nothing more in it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rag_pipeline.indexing.chunking.context import ARROW
from rag_pipeline.ports import Masker
from rag_pipeline.project import Project

LOOKED_AT = ("text", "context", "title", "path", "uri", "heading_path", "metadata")
SHOWN_DOCUMENTS = 20


@dataclass(slots=True)
class LeakReport:
    """What stands in a collection although its source's rules mask it. Counts and places, never a value."""

    collection: str
    points: int = 0
    leaks: Counter[str] = field(default_factory=Counter)
    """Values by kind."""
    documents: dict[str, int] = field(default_factory=dict)
    """Values by document id."""

    @property
    def is_clean(self) -> bool:
        return not self.leaks


def find_leaks(project: Project, buckets: Sequence[str] | None = None) -> LeakReport:
    """What the rules find in the stored points of the target collection: of some buckets, or of all."""
    name = project.target.name
    report = LeakReport(name)
    if project.store.describe(name) is None:
        return report
    for bucket in [None] if buckets is None else buckets:
        for point in project.store.scroll(name, bucket=bucket):
            look_at(point.payload, project.masker, report)
    return report


def look_at(payload: Mapping[str, Any], masker: Masker, report: LeakReport) -> None:
    """Adds what stands in one point to the report."""
    report.points += 1
    parts = {**payload, "context": _own_context(payload)}
    texts = (text for field_name in LOOKED_AT for text in _texts(parts.get(field_name)))
    found = masker.count_leaks(str(payload.get("source", "")), texts)
    if found:
        report.leaks.update(found)
        document = str(payload.get("document_id", ""))
        report.documents[document] = report.documents.get(document, 0) + sum(found.values())


def _own_context(payload: Mapping[str, Any]) -> str:
    """The context without title and headings, which were masked one by one and are looked at so.

    In the middle of a line, or cut off behind it, the number of a section such as `26.3.3.1. Backing up` reads as an address.
    """
    headings = [" ".join(str(text).split()) for text in (payload.get("title"), *(payload.get("heading_path") or ())) if text]
    line, _, repeated = (payload.get("context") or "").partition("\n")
    own = [part for part in line.split(ARROW) if not any(heading.startswith(part) for heading in headings)]
    return f"{ARROW.join(own)}\n{repeated}"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield str(key)
            yield from _texts(below)
    elif isinstance(value, Iterable) and not isinstance(value, str):
        for below in value:
            yield from _texts(below)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
