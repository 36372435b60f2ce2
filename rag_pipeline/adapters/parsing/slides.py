"""PowerPoint presentations, read by unstructured; a slide's title is the heading of all that it shows."""

import io
from collections.abc import Callable, Iterator
from typing import Any

from rag_pipeline.adapters.parsing.document import Draft, Original, first_title, shorten
from rag_pipeline.adapters.parsing.html import parse_markup
from rag_pipeline.adapters.parsing.limits import current_limits
from rag_pipeline.adapters.parsing.office_facts import read_facts
from rag_pipeline.adapters.parsing.unstructured_library import load_partitioner
from rag_pipeline.errors import ParseLimitError
from rag_pipeline.schema import Element, ElementKind


def prepare() -> Callable[..., list[Any]]:
    """The library's function, loaded: seconds and memory that no single document should answer for."""
    return load_partitioner("unstructured.partition.pptx", "partition_pptx")


def parse(original: Original) -> Draft:
    """Each slide's title, text, tables and speaker notes, with the 1-based number of the slide as the page."""
    import pptx

    partition = prepare()
    presentation = pptx.Presentation(io.BytesIO(original.data))
    if len(presentation.slides) > (most := current_limits().pages):
        raise ParseLimitError(f"pptx: more than {most} slides (parsing.max_pages); split it", reason="limit_pages")
    found = partition(file=io.BytesIO(original.data), languages=["eng"], include_page_breaks=False, include_slide_notes=False)
    facts = read_facts(presentation.core_properties)
    elements = [
        element
        for number, slide in enumerate(presentation.slides, start=1)
        for element in _slide([item for item in found if item.metadata.page_number == number], slide, number=number)
    ]
    title = str(facts.pop("title", "")) or first_title(elements)
    return Draft(title=title, elements=elements, metadata=facts | {"slides": len(presentation.slides)})


def _slide(found: list[Any], slide: Any, *, number: int) -> Iterator[Element]:
    shape = slide.shapes.title
    title = shorten(shape.text_frame.text) if shape is not None and shape.has_text_frame else ""
    path = (title,) if title else ()
    if title:
        yield Element(ElementKind.TITLE, title, (), number)
    words = _key(title)
    for item in found:
        if type(item).__name__ == "Title" and words.startswith(_key(item.text)) and words:
            words = words.removeprefix(_key(item.text))
        elif item.text.strip():
            yield _element(item, path, number=number)
    if slide.has_notes_slide and (frame := slide.notes_slide.notes_text_frame) is not None and frame.text.strip():
        yield Element(ElementKind.TEXT, f"Notes: {frame.text}", path, number)


def _element(item: Any, path: tuple[str, ...], *, number: int) -> Element:
    category = type(item).__name__
    if category == "Table":
        rows = parse_markup(item.metadata.text_as_html or "").elements
        return Element(ElementKind.TABLE, "\n".join(row.text for row in rows) or item.text, path, number)
    return Element(ElementKind.LIST_ITEM if category == "ListItem" else ElementKind.TEXT, item.text, path, number)


def _key(text: str) -> str:
    return "".join(text.split())
