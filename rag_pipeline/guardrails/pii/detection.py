"""All patterned personal data of a text, as spans of the original."""

import itertools
import re
from collections.abc import Callable, Collection, Iterable, Sequence

from rag_pipeline.guardrails.pii.folding import FoldedText, fold
from rag_pipeline.guardrails.pii.kinds import Finding, Kind
from rag_pipeline.guardrails.pii.numbers import find_numbers
from rag_pipeline.guardrails.pii.watch import Watch, unwatched
from rag_pipeline.guardrails.pii.words import find_addresses, find_emails, find_ibans

RULES_VERSION = 2
"""Part of the masking fingerprint. Raise it when the rules find something else in some text."""
_ANY_DIGIT = re.compile(r"\d")
_RANK: dict[str, int] = {str(kind): rank for rank, kind in enumerate(Kind)}
_SEAM = 80
"""Characters on either side of a border in which an entity may be split by it."""


def find_patterned(
    text: str, kinds: Collection[str], *, masks_private_addresses: bool = False, watch: Watch = unwatched
) -> list[Finding]:
    """Patterned personal data of these kinds, in order, overlaps joined; spans of the text as given."""
    watch()
    folded = fold(text)
    spans: set[tuple[Kind, int, int]] = set()
    for kind, start, end in _spans(folded, kinds, watch, masks_private_addresses=masks_private_addresses):
        watch()
        if kind in kinds:
            spans.add((kind, *folded.original_span(start, end)))
    return join_overlaps(Finding(start, end, kind) for kind, start, end in spans)


def _spans(
    folded: FoldedText, kinds: Collection[str], watch: Watch, *, masks_private_addresses: bool
) -> Iterable[tuple[Kind, int, int]]:
    text = folded.text
    if Kind.EMAIL in kinds:
        yield from find_emails(text, watch)
    if _ANY_DIGIT.search(text) is None:
        return
    numeric = folded.numeric
    yield from find_numbers(text, watch)
    if numeric != text:
        yield from find_numbers(numeric, watch)
    if Kind.IBAN in kinds:
        yield from find_ibans(text, watch)
        yield from find_ibans(_iban_digits(text), watch)
    if Kind.IP_ADDRESS in kinds:
        yield from find_addresses(numeric, watch, masks_private=masks_private_addresses)


def _iban_digits(text: str) -> str:
    """Letters that stand for digits read so, in words that begin like an IBAN; the country stays."""
    return re.sub(r"(?<![A-Za-z0-9])([A-Z]{2})([0-9OIl]{2}[-. 0-9OIl]{11,40})", lambda m: m[1] + _plain(m[2]), text)


def _plain(text: str) -> str:
    return text.translate(str.maketrans("OIl", "011"))


def find_over_borders(
    texts: Sequence[str], found: Sequence[Sequence[Finding]], find: Callable[[str], list[Finding]]
) -> list[list[Finding]]:
    """Parts of entities that a border between two neighbouring texts splits, by text; whole ones are in ``found``."""
    extra: list[list[Finding]] = [[] for _ in texts]
    for left, right in _neighbours(texts):
        head, tail = texts[left][-_SEAM:], texts[right][:_SEAM]
        offset = len(texts[left]) - len(head)
        for finding in find(head + tail):
            if not finding.start < len(head) < finding.end:
                continue
            first = Finding(offset + finding.start, len(texts[left]), finding.kind)
            second = Finding(0, finding.end - len(head), finding.kind)
            if not (_overlaps(first, found[left]) or _overlaps(second, found[right])):
                extra[left].append(first)
                extra[right].append(second)
    return extra


def _neighbours(texts: Sequence[str]) -> Iterable[tuple[int, int]]:
    filled = [number for number, text in enumerate(texts) if text]
    return itertools.pairwise(filled)


def _overlaps(finding: Finding, others: Iterable[Finding]) -> bool:
    return any(finding.start < other.end and other.start < finding.end for other in others)


def join_overlaps(findings: Iterable[Finding]) -> list[Finding]:
    """Findings in order that do not overlap: rules before models, then the longer, then the stricter kind; parts are joined."""
    joined: list[Finding] = []
    for finding in sorted(findings):
        if joined and finding.start < joined[-1].end:
            last = joined[-1]
            best = min(last, finding, key=_preference)
            is_patterned = last.is_patterned or finding.is_patterned
            joined[-1] = Finding(last.start, max(last.end, finding.end), best.kind, is_patterned)
        else:
            joined.append(finding)
    return joined


def _preference(finding: Finding) -> tuple[bool, int, int]:
    return not finding.is_patterned, finding.start - finding.end, _RANK.get(str(finding.kind), len(_RANK))
