"""What differs between two specifications of an index, and so which stages rerun for which documents."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from rag_pipeline.guardrails.pii.policy import EVERY_SOURCE, masking_of
from rag_pipeline.schema import DocumentType, IndexSpec


class SpecPart(StrEnum):
    """A part of the spec that changes together."""

    VECTOR_SPACE = "vector_space"
    PARSING = "parsing"
    CHUNKING = "chunking"
    MASKING = "masking"
    POINTS = "points"
    """The sparse model and the form of the payload."""


IN_PLACE, CANDIDATE = "in_place", "candidate"
Strategy = Mapping[SpecPart, str]
"""``in_place`` or ``candidate`` by part; a new vector space always needs a candidate."""


@dataclass(frozen=True, slots=True)
class SpecChange:
    """What one spec says differently from another; false when nothing."""

    vector_space: tuple[str, ...] = ()
    """Names of the fields that differ."""
    parsing: tuple[DocumentType, ...] = ()
    chunking: tuple[DocumentType, ...] = ()
    masking: tuple[str, ...] = ()
    """Names of the sources whose masking differs, ``*`` for all that have no rule of their own."""
    points: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.parts)

    @property
    def parts(self) -> tuple[SpecPart, ...]:
        """The parts that differ, in the order of the stages."""
        differs = {
            SpecPart.VECTOR_SPACE: self.vector_space,
            SpecPart.PARSING: self.parsing,
            SpecPart.CHUNKING: self.chunking,
            SpecPart.MASKING: self.masking,
            SpecPart.POINTS: self.points,
        }
        return tuple(part for part, what in differs.items() if what)

    def wants_candidate(self, strategy: Strategy) -> bool:
        """Whether the change is built beside the live collection instead of inside it."""
        return any(part is SpecPart.VECTOR_SPACE or strategy[part] == CANDIDATE for part in self.parts)

    def describe(self) -> list[str]:
        """A line for each stage that reruns, and for what."""
        return list(self._lines())

    def _lines(self) -> Iterator[str]:
        if self.parsing:
            yield f"parse again: {_listed(self.parsing)} documents"
        if self.masking:
            sources = ", ".join(name if name != EVERY_SOURCE else "all others" for name in self.masking)
            yield f"read and mask again: {sources if self.masking != (EVERY_SOURCE,) else 'all sources'}"
        if self.chunking:
            yield f"cut again: {_listed(self.chunking)} documents"
        if self.vector_space:
            yield f"embed again: every text ({', '.join(self.vector_space)} changed)"
        elif self.parsing or self.chunking or self.masking:
            yield "embed: texts that are new in this vector space"
        if self.points:
            yield f"write again: every point ({', '.join(self.points)} changed)"


def compare_specs(old: IndexSpec, new: IndexSpec) -> SpecChange:
    """What ``new`` says differently from ``old``."""
    cuts_differently = old.tokenizer_sha256 != new.tokenizer_sha256 or _prompt(old) != _prompt(new)
    return SpecChange(
        vector_space=_differing(asdict(old.vector_space), asdict(new.vector_space)),
        parsing=_types(old.parsing, new.parsing),
        chunking=tuple(DocumentType) if cuts_differently else _types(old.chunking, new.chunking),
        masking=tuple(
            name
            for name in sorted({*old.masking, *new.masking})
            if masking_of(old.masking, name) != masking_of(new.masking, name)
        ),
        points=_differing(_point_fields(old), _point_fields(new)),
    )


def _prompt(spec: IndexSpec) -> str:
    """The prompt counts as a part of every chunk."""
    return spec.vector_space.document_prompt


def _point_fields(spec: IndexSpec) -> dict[str, Any]:
    return {"sparse_model": spec.sparse_model, "payload_version": spec.payload_version}


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(name for name in new if old.get(name) != new[name])


def _types(old: Mapping[DocumentType, Any], new: Mapping[DocumentType, Any]) -> tuple[DocumentType, ...]:
    return tuple(kind for kind in DocumentType if old.get(kind) != new.get(kind))


def _listed(types: tuple[DocumentType, ...]) -> str:
    return "all" if len(types) == len(DocumentType) else ", ".join(types)
