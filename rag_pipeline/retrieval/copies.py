"""Documents with the same bytes: one hit for a passage, with the addresses of all its copies."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from rag_pipeline.schema import Hit

Copies = Mapping[Any, Mapping[str, Mapping[str, Any]]]
"""By content: the payloads of its documents, one each, by document id."""
_OF_THE_COPY = ("document_id", "source", "uri", "path", "bucket", "stale")
"""What a payload says of the copy and not of the text; all else is equal in every copy."""


def merge_copies(*rankings: Sequence[Hit]) -> list[list[Hit]]:
    """The rankings with one hit for each passage; of equal documents the one with the smallest id stands for all.

    ``uris`` of a hit's payload names the addresses of all copies that any ranking holds, sorted. A passage keeps the rank of
    its best copy. Hits whose payload names no content stay as they are.
    """
    copies = _copies(chain.from_iterable(rankings))
    ids: dict[Any, str] = {}
    for hit in chain.from_iterable(rankings):
        passage = _passage(hit, copies)
        ids[passage] = min(hit.id, ids.get(passage, hit.id))
    return [_merged(ranking, copies, ids) for ranking in rankings]


def _copies(hits: Iterable[Hit]) -> Copies:
    found: dict[Any, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for hit in hits:
        found[_content(hit)][str(hit.payload.get("document_id"))] = hit.payload
    return found


def _merged(ranking: Sequence[Hit], copies: Copies, ids: Mapping[Any, str]) -> list[Hit]:
    merged: dict[Any, Hit] = {}
    for hit in ranking:
        passage = _passage(hit, copies)
        if passage not in merged:
            merged[passage] = replace(_spoken_for(hit, copies[_content(hit)]), id=ids[passage])
    return list(merged.values())


def _passage(hit: Hit, copies: Copies) -> Any:
    """What a passage has in common with its copies; its own id where there are none."""
    return (_content(hit), hit.payload.get("ordinal")) if len(copies[_content(hit)]) > 1 else hit.id


def _spoken_for(hit: Hit, documents: Mapping[str, Mapping[str, Any]]) -> Hit:
    """The hit as one of the document that stands for all."""
    if len(documents) == 1:
        return hit
    speaker = documents[min(documents)]
    told = {key: speaker[key] for key in _OF_THE_COPY if key in speaker}
    uris = sorted({str(payload["uri"]) for payload in documents.values() if payload.get("uri")})
    return replace(hit, payload={**hit.payload, **told, "uris": uris})


def _content(hit: Hit) -> Any:
    """The bytes and how they were read; equal bytes under another suffix may be cut into other chunks."""
    payload = hit.payload
    content = payload.get("content_hash")
    return (content, payload.get("type"), payload.get("format"), payload.get("title")) if content else hit.id
