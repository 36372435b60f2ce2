"""Documents without personal data: found over the whole text, taken out of every place that is stored."""

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Protocol

from rag_pipeline.errors import ParseLimitError
from rag_pipeline.guardrails.pii.detection import find_over_borders, join_overlaps
from rag_pipeline.guardrails.pii.kinds import NAMES, Finding, Kind
from rag_pipeline.guardrails.pii.operators import Cipher, Operator, Replace, keyed_letters, stand_in
from rag_pipeline.guardrails.pii.policy import MaskingPolicy, policy_fingerprint
from rag_pipeline.guardrails.pii.subjects import subject_digest
from rag_pipeline.guardrails.pii.watch import Watch, watch_of
from rag_pipeline.ports import MaskedDocument
from rag_pipeline.schema import ParsedDocument

MOST_PASSES = 3
"""What is masked may let a rule see its neighbour, so that the text is looked at until nothing is found."""
SHORTEST_NAME = 5
"""Characters of a name that is also looked for, letter by letter, in title, headings and metadata."""


class Finder(Protocol):
    """Finds kinds that the rules here do not know."""

    version: str
    """Name, version and settings: part of the fingerprint."""

    def find_all(self, texts: Sequence[str], kinds: frozenset[str]) -> list[list[Finding]]:
        """Findings by text."""


class NoFinder:
    """Finds nothing."""

    version = ""

    def find_all(self, texts: Sequence[str], kinds: frozenset[str]) -> list[list[Finding]]:  # noqa: ARG002 - the port asks for it
        return [[] for _ in texts]


@dataclass(slots=True)
class _Tally:
    """What was masked in one document."""

    counts: Counter[str] = field(default_factory=Counter)
    subjects: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)
    """Kind by name found in the running text."""


class DocumentMasker:
    """Port ``Masker`` by rules, with a model for names where a policy asks for it."""

    def __init__(
        self,
        policies: Callable[[str], MaskingPolicy | None],
        *,
        key: bytes = b"",
        cipher: Cipher | None = None,
        finder: Finder | None = None,
        cpu_s: float = math.inf,
    ) -> None:
        """``policies``: what is masked in a source of this name, or None. ``cpu_s``: what the rules may take for a document."""
        self._cpu_s = cpu_s
        self._policies = policies
        self._key = key
        self._cipher = cipher
        self._finder = finder or NoFinder()

    def fingerprint(self, source: str) -> str:
        return policy_fingerprint(self._policies(source), key=self._key, finder=self._finder.version)

    def mask_text(self, source: str, text: str) -> str:
        policy = self._policies(source)
        if policy is None:
            return text
        return _rewritten(text, policy.find(text), lambda kind, value: self._stand_in(policy, kind, value))

    def mask_path(self, source: str, path: str) -> str:
        policy = self._policies(source)
        if policy is None:
            return path
        findings = policy.find(path)
        return _rewritten(path, findings, lambda kind, _: f"[{kind}]") if findings else path

    def distinguish(self, path: str) -> str:
        return keyed_letters(path, self._key) if self._key else ""

    def count_leaks(self, source: str, texts: Iterable[str]) -> Mapping[str, int]:
        policy = self._policies(source)
        if policy is None:
            return {}
        return Counter(str(finding.kind) for text in texts for finding in policy.find(text))

    def mask_all(self, documents: Sequence[tuple[str, ParsedDocument]]) -> list[MaskedDocument | ParseLimitError]:
        policies = [self._policies(source) for source, _ in documents]
        asked = [(document, policy) for (_, document), policy in zip(documents, policies, strict=True) if policy is not None]
        named = iter(self._names_of(asked))
        return [
            MaskedDocument(document) if policy is None else self._mask_or_give_up(document, policy, next(named))
            for (_, document), policy in zip(documents, policies, strict=True)
        ]

    def _names_of(self, asked: Sequence[tuple[ParsedDocument, MaskingPolicy]]) -> list[dict[str, list[Finding]]]:
        """Names by text for each document, found for all documents at once, as a model is fast only in batches."""
        kinds = frozenset(kind for _, policy in asked for kind in policy.kinds if not _is_ruled(kind))
        if not kinds:
            return [{} for _ in asked]
        texts = [list(dict.fromkeys(_all_texts(document))) for document, _ in asked]
        found = iter(self._finder.find_all([text for group in texts for text in group], kinds))
        return [
            {text: [f for f in next(found) if f.kind in policy.kinds] for text in group}
            for group, (_, policy) in zip(texts, asked, strict=True)
        ]

    def _mask_or_give_up(
        self, document: ParsedDocument, policy: MaskingPolicy, named: Mapping[str, list[Finding]]
    ) -> MaskedDocument | ParseLimitError:
        try:
            return self._mask(document, policy, named, watch_of(self._cpu_s))
        except ParseLimitError as error:
            return error

    def _mask(
        self, document: ParsedDocument, policy: MaskingPolicy, named: Mapping[str, list[Finding]], watch: Watch
    ) -> MaskedDocument:
        tally = _Tally()

        @cache
        def rewrite(text: str) -> str:
            return self._mask_alone(text, policy, named, tally, watch)

        texts = [element.text for element in document.elements]
        for _ in range(MOST_PASSES):
            before, texts = texts, self._mask_elements(texts, policy, named, tally, watch)
            if texts == before:
                break
        elements = tuple(
            replace(element, text=text, heading_path=tuple(rewrite(part) for part in element.heading_path))
            for element, text in zip(document.elements, texts, strict=True)
        )
        title = rewrite(document.title)
        metadata = {rewrite(key): _mask_value(value, rewrite) for key, value in document.metadata.items()}
        masked = replace(document, elements=elements, title=title, metadata=metadata)
        return MaskedDocument(masked, dict(sorted(tally.counts.items())), tuple(sorted(tally.subjects)))

    def _mask_elements(
        self, texts: list[str], policy: MaskingPolicy, named: Mapping[str, list[Finding]], tally: _Tally, watch: Watch
    ) -> list[str]:
        """The running text, in which a line, an element or a page may end within a number."""
        bases, joined = [0], "\n".join(texts)
        for text in texts:
            bases.append(bases[-1] + len(text) + 1)
        alone = [policy.find(text, watch) for text in texts]
        seams = find_over_borders(texts, alone, lambda text: policy.find(text, watch))
        findings = policy.find(joined, watch)
        for base, text, found, parts in zip(bases, texts, alone, seams, strict=False):
            both = (*found, *parts, *named.get(text, ()))
            findings += [replace(finding, start=base + finding.start, end=base + finding.end) for finding in both]
        complete = {(base + f.start, base + f.end) for base, found in zip(bases, alone, strict=False) for f in found}
        whole = _across(join_overlaps(findings), bases, complete)
        edits: list[list[tuple[int, int, str]]] = [[] for _ in texts]
        for finding in whole:
            watch()
            value = joined[finding.start : finding.end]
            self._count(finding, value, tally)
            written = self._stand_in(policy, finding.kind, value)
            for number in range(bisect_right(bases, finding.start) - 1, bisect_left(bases, finding.end)):
                base = bases[number]
                start, end = max(finding.start - base, 0), min(finding.end - base, len(texts[number]))
                if start < end:
                    edits[number].append((start, end, written))
                    written = "*" * (end - start) if policy.operator == Operator.MASK else f"[{finding.kind}]"
        return [_edited(text, changes) for text, changes in zip(texts, edits, strict=True)]

    def _mask_alone(
        self, text: str, policy: MaskingPolicy, named: Mapping[str, list[Finding]], tally: _Tally, watch: Watch
    ) -> str:
        watch()
        findings = [*policy.find(text, watch), *named.get(text, ()), *_known_names(text, tally.names)]

        def write(kind: str, value: str) -> str:
            return self._stand_in(policy, kind, value)

        joined = join_overlaps(findings)
        for finding in joined:
            self._count(finding, text[finding.start : finding.end], tally)
        return _rewritten(text, joined, write)

    def _count(self, finding: Finding, value: str, tally: _Tally) -> None:
        tally.counts[str(finding.kind)] += 1
        digest = subject_digest(value, self._key)
        if digest:
            tally.subjects.add(digest)
        if finding.kind in NAMES and len(value) >= SHORTEST_NAME:
            tally.names[value] = finding.kind

    def _stand_in(self, policy: MaskingPolicy, kind: str, value: str) -> str:
        return stand_in(str(kind), value, policy.operator, key=self._key, cipher=self._cipher)


def _is_ruled(kind: str) -> bool:
    return kind in tuple(Kind)


def _all_texts(document: ParsedDocument) -> Iterable[str]:
    for element in document.elements:
        yield element.text
        yield from element.heading_path
    yield document.title
    yield from document.metadata
    for value in document.metadata.values():
        yield from _strings(value)


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, below in value.items():
            yield str(key)
            yield from _strings(below)
    elif isinstance(value, list | tuple):
        for below in value:
            yield from _strings(below)


def _mask_value(value: Any, rewrite: Callable[[str], str]) -> Any:
    """A JSON value, masked; a number stays one unless it is a personal number."""
    if isinstance(value, str):
        return rewrite(value)
    if isinstance(value, Mapping):
        return {rewrite(str(key)): _mask_value(below, rewrite) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_mask_value(below, rewrite) for below in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    masked = rewrite(str(value))
    return value if masked == str(value) else masked


def _known_names(text: str, names: Mapping[str, str]) -> Iterable[Finding]:
    for name, kind in names.items():
        start = text.find(name)
        while start >= 0:
            yield Finding(start, start + len(name), kind, is_patterned=False)
            start = text.find(name, start + len(name))


def _across(findings: Sequence[Finding], bases: Sequence[int], complete: set[tuple[int, int]]) -> list[Finding]:
    """Both halves of an entity at a border as one finding; two complete ones stay two."""
    borders = {base - 1 for base in bases[1:]}
    joined: list[Finding] = []
    for finding in findings:
        last = joined[-1] if joined else None
        is_next = last and last.kind == finding.kind and last.end in borders and finding.start == last.end + 1
        if is_next and last and not {(last.start, last.end), (finding.start, finding.end)} <= complete:
            joined[-1] = replace(last, end=finding.end)
        else:
            joined.append(finding)
    return joined


def _rewritten(text: str, findings: Sequence[Finding], write: Replace) -> str:
    return _edited(text, [(f.start, f.end, write(str(f.kind), text[f.start : f.end])) for f in findings])


def _edited(text: str, edits: Iterable[tuple[int, int, str]]) -> str:
    pieces, done = [], 0
    for start, end, written in edits:
        pieces += [text[done:start], written]
        done = end
    return "".join((*pieces, text[done:]))
