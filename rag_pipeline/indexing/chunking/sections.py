"""Sections of a document: a heading with what stands under it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby

from rag_pipeline.indexing.chunking.measured import Block, MeasuredDocument
from rag_pipeline.schema import Element, ElementKind

TINY_SHARE = 4
"""A piece of a section below this part of the aim says too little alone and joins a neighbour of any kind."""


@dataclass(frozen=True, slots=True)
class Section:
    """Blocks that stand together."""

    blocks: tuple[Block, ...]
    headings: tuple[str, ...]
    """The path down to here, the section's own heading included."""
    own: int
    """How many headings of the path stand in the text itself, at its start."""

    @property
    def start(self) -> int:
        """First character."""
        return self.blocks[0].start

    @property
    def end(self) -> int:
        """Character after the last."""
        return self.blocks[-1].end

    @property
    def headings_above(self) -> tuple[str, ...]:
        """The part of the path that the text itself does not hold."""
        return self.headings[: len(self.headings) - self.own]

    @property
    def is_heading_alone(self) -> bool:
        """Whether nothing stands under the heading."""
        return all(block.element.kind is ElementKind.TITLE for block in self.blocks)


def find_sections(blocks: Iterable[Block]) -> list[Section]:
    """The blocks parted at every change of heading; a heading without text goes to the section after it."""
    sections: list[Section] = []
    for section in _runs(blocks):
        if sections and sections[-1].is_heading_alone:
            section = _with_lead(sections.pop(), section)
        sections.append(section)
    if len(sections) > 1 and sections[-1].is_heading_alone:
        last = sections.pop()
        before = sections.pop()
        sections.append(Section((*before.blocks, *last.blocks), before.headings, before.own))
    return sections


def pack_sections(document: MeasuredDocument, sections: Sequence[Section], *, aim: int) -> list[Section]:
    """The sections joined to what has at most ``aim`` tokens: whole parts of the outline first, then whole neighbours."""
    return Packer(document, aim).pack(sections, depth=0)


@dataclass(frozen=True, slots=True)
class Packer:
    """Joins sections from the leaves of the outline upwards."""

    document: MeasuredDocument
    aim: int

    def pack(self, sections: Sequence[Section], *, depth: int) -> list[Section]:
        """The sections of one part of the outline, whose paths share the first ``depth`` headings."""
        if len(sections) < 2:
            return list(sections)
        if self._tokens(sections[0], sections[-1]) <= self.aim:
            return [reduce(_merge, sections)]
        if all(len(section.headings) <= depth for section in sections):
            return self._join([(section, True) for section in sections])
        groups = groupby(sections, key=lambda section: section.headings[: depth + 1])
        packed = [self.pack(list(group), depth=depth + 1) for _, group in groups]
        return self._join([(section, len(group) == 1) for group in packed for section in group])

    def _join(self, parts: Sequence[tuple[Section, bool]]) -> list[Section]:
        """The parts of one level; neighbours join when each is whole, or when one is too tiny to stand alone."""
        joined: list[tuple[Section, bool]] = []
        for section, is_whole in parts:
            if joined and self._may_join(*joined[-1], section, is_whole):
                joined[-1] = (_merge(joined[-1][0], section), True)
            else:
                joined.append((section, is_whole))
        return [section for section, _ in joined]

    def _may_join(self, first: Section, first_is_whole: bool, second: Section, second_is_whole: bool) -> bool:
        if self._tokens(first, second) > self.aim:
            return False
        if first_is_whole and second_is_whole:
            return True
        return min(self._tokens(first, first), self._tokens(second, second)) <= self.aim // TINY_SHARE

    def _tokens(self, first: Section, last: Section) -> int:
        return self.document.tokens_between(first.start, last.end)


def _runs(blocks: Iterable[Block]) -> Iterator[Section]:
    run: list[Block] = []
    path: tuple[str, ...] | None = None
    for block in blocks:
        element = block.element
        is_title = element.kind is ElementKind.TITLE
        here = title_path(element) if is_title else element.heading_path
        if run and (is_title or (here != path and not _is_under(element, run[-1].element))):
            yield _section(run, path or ())
            run = []
        run.append(block)
        path = here
    if run:
        yield _section(run, path or ())


def title_path(title: Element) -> tuple[str, ...]:
    """The path of what stands under a heading."""
    return (*title.heading_path, " ".join(title.text.split()))


def _is_under(element: Element, title: Element) -> bool:
    """Whether the element follows its heading, whose name in paths a parser may have shortened."""
    return title.kind is ElementKind.TITLE and element.heading_path[:-1] == title.heading_path and bool(element.heading_path)


def _section(blocks: Sequence[Block], headings: tuple[str, ...]) -> Section:
    return Section(tuple(blocks), headings, 1 if blocks[0].element.kind is ElementKind.TITLE else 0)


def _with_lead(lead: Section, section: Section) -> Section:
    """A section with the lone headings before it; those that are above it in its path are in its text now."""
    shared = common_path(lead.headings, section.headings)
    is_above = len(shared) == len(lead.headings) and len(section.headings) - section.own == len(shared)
    own = section.own + lead.own if is_above else section.own
    return Section((*lead.blocks, *section.blocks), section.headings, own)


def _merge(first: Section, second: Section) -> Section:
    shared = common_path(first.headings, second.headings)
    headings = shared or first.headings
    above = len(first.headings_above)
    return Section((*first.blocks, *second.blocks), headings, max(0, len(headings) - above))


def common_path(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    """The beginning that two paths share."""
    length = 0
    for left, right in zip(first, second, strict=False):
        if left != right:
            break
        length += 1
    return first[:length]
