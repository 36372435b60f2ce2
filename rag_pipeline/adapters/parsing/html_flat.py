"""Pages nested too deep to build a tree of: their text without structure, but whole."""

from html.parser import HTMLParser

from rag_pipeline.adapters.parsing.document import Draft, Outline, first_title, shorten
from rag_pipeline.adapters.parsing.html_tree import BLOCK_TAGS
from rag_pipeline.schema import Element, ElementKind

_SKIPPED = frozenset({"script", "style", "noscript", "template", "nav", "svg", "select", "button"})
_HEADINGS = {f"h{level}": level for level in range(1, 7)}


def parse_flat(text: str) -> Draft:
    """Paragraphs and headings in reading order."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    reader.flush()
    return Draft(title=shorten(reader.title) or first_title(reader.elements), elements=reader.elements)


class _Reader(HTMLParser):
    """Collects text between block tags."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self.title = ""
        self._outline = Outline()
        self._run: list[str] = []
        self._inside = ""
        self._skipped = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  the name is the library's
        if tag in _SKIPPED and not self._skipped:
            self._skipped = tag
        elif tag in BLOCK_TAGS or tag in ("title", "br"):
            self.flush()
            self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._skipped:
            self._skipped = ""
        elif tag in BLOCK_TAGS or tag == "title":
            self.flush()
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self._run.append(data)

    def flush(self) -> None:
        """Ends the present paragraph."""
        raw, self._run = "".join(self._run), []
        text = " ".join(raw.split())
        if not text:
            return
        if self._inside == "title":
            self.title = text
        elif self._inside in _HEADINGS:
            above = self._outline.enter(text, level=_HEADINGS[self._inside])
            self.elements.append(Element(ElementKind.TITLE, text, above))
        else:
            kind = {"pre": ElementKind.CODE, "li": ElementKind.LIST_ITEM}.get(self._inside, ElementKind.TEXT)
            self.elements.append(Element(kind, raw.strip("\n") if kind is ElementKind.CODE else text, self._outline.path))
