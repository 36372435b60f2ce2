"""The same pages as chunks: by this pipeline, and by the defaults of its peers."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from rag_pipeline.indexing.chunking.document import chunk_document
from rag_pipeline.indexing.cleaning import clean_text
from rag_pipeline.ports import ParseRequest, Tokenizer
from rag_pipeline.project import Project
from rag_pipeline.schema import Chunk, DocumentType, ElementKind, ParsedDocument

PEER_SCRIPT = Path(__file__).with_name("peer_chunks.py")
_BLOCKS = frozenset(
    re.findall(
        r"\w+",
        "address article aside blockquote body caption center dd details div dl dt fieldset figcaption figure footer form h1 h2 "
        "h3 h4 h5 h6 header hr li main ol p pre section summary table tbody tfoot thead tr ul",
    )
)
_DROPPED = "//script|//style|//nav|//*[@role='navigation' or @role='search']|//*[@class='headerlink']|//head"
_CHROME = "|".join(f"//*[contains(@class, '{name}')]" for name in ("navheader", "navfooter", "sphinxsidebar"))


@dataclass(frozen=True, slots=True)
class Page:
    """A file of a corpus, named ``corpus/path``."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk and the words that the encoder reads of it."""

    chunk: Chunk
    embedded_text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class ChunkedPage:
    """A page's chunks in order."""

    name: str
    title: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Chunking:
    """All pages, cut one way."""

    name: str
    documents: tuple[ChunkedPage, ...]


def read_pages(corpora: Mapping[str, str]) -> list[Page]:
    """Every HTML page of every corpus."""
    return [
        Page(f"{name}/{file.relative_to(folder)}", file.read_bytes())
        for name, folder in corpora.items()
        for file in sorted(Path(folder).rglob("*.html"))
    ]


def cut_pipeline(name: str, project: Project, pages: Sequence[Page]) -> Chunking:
    """By the pipeline's own parser and default rule."""
    requests = (ParseRequest(page.name, page.name, page.data) for page in pages)
    documents = []
    for outcome in project.parser.parse_all(requests):
        if not isinstance(outcome.result, ParsedDocument):
            raise outcome.result
        documents.append(_cut_page(project, outcome.document_id, outcome.result))
    project.parser.close()
    return Chunking(name, tuple(documents))


def _cut_page(project: Project, name: str, document: ParsedDocument) -> ChunkedPage:
    rule = project.settings.chunking.rule_for(DocumentType.HTML)
    chunks = chunk_document(document, rule=rule, tokenizer=project.models.tokenizer(project.spec.vector_space))
    return ChunkedPage(name, document.title, tuple(Piece(chunk, chunk.embedded_text, chunk.token_count) for chunk in chunks))


def cut_peers(pages: Sequence[Page], *, python: Path | None, tokenizer: Tokenizer, window: int) -> list[Chunking]:
    """By the default splitter of each peer, run by the peer's own code in the interpreter that has it."""
    if python is None:
        return []
    texts = {page.name: main_text(page.data) for page in pages}
    lines = "".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in texts.items())
    answer = subprocess.run([str(python), str(PEER_SCRIPT)], input=lines, text=True, stdout=subprocess.PIPE, check=True)
    found: dict[str, list[ChunkedPage]] = {}
    for line in answer.stdout.splitlines():
        cut = json.loads(line)
        pieces = tuple(_peer_pieces(cut["chunks"], texts[cut["id"]], tokenizer=tokenizer, window=window))
        found.setdefault(cut["peer"], []).append(ChunkedPage(cut["id"], "", pieces))
    return [Chunking(peer, tuple(documents)) for peer, documents in found.items()]


def _peer_pieces(texts: Sequence[str], whole: str, *, tokenizer: Tokenizer, window: int) -> Iterator[Piece]:
    start = 0
    kept = [text for text in texts if text.strip()]
    for ordinal, (text, spans) in enumerate(zip(kept, tokenizer.spans(kept), strict=True)):
        start = max(whole.find(text, start), start)
        room = window - tokenizer.special_tokens
        embedded = text if len(spans) <= room else text[: int(spans[room - 1][1])]
        chunk = Chunk(
            ordinal=ordinal,
            text=text,
            context="",
            start=start,
            end=start + len(text),
            kind=ElementKind.TEXT,
            heading_path=(),
            page=None,
            token_count=len(spans) + tokenizer.special_tokens,
        )
        yield Piece(chunk, embedded, min(chunk.token_count, window))


def main_text(data: bytes) -> str:
    """The text of a page's main part: navigation and scripts left out, a blank line between blocks."""
    root = etree.fromstring(data, etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True))
    for node in root.xpath(f"{_DROPPED}|{_CHROME}"):
        _drop(node)
    mains = root.xpath("//main|//*[@role='main']")
    parts: list[str] = []
    _collect(mains[0] if mains else root, parts, is_code=False)
    return clean_text("\n\n".join(block for block in "".join(parts).split("\0") if block.strip()))


def _drop(node: "etree._Element") -> None:
    parent, tail = node.getparent(), node.tail
    if parent is None:
        return
    before = node.getprevious()
    if before is None:
        parent.text = (parent.text or "") + (tail or "")
    else:
        before.tail = (before.tail or "") + (tail or "")
    parent.remove(node)


def _collect(node: "etree._Element", parts: list[str], *, is_code: bool) -> None:
    """Adds the texts below; NUL marks where a block begins or ends."""
    is_code = is_code or node.tag == "pre"
    mark = "\0" if node.tag in _BLOCKS else " " if node.tag in ("td", "th", "br") else ""
    parts += [mark, _blanks(node.text, is_code=is_code)]
    for child in node:
        _collect(child, parts, is_code=is_code)
        parts.append(_blanks(child.tail, is_code=is_code))
    parts.append(mark)


def _blanks(text: str | None, *, is_code: bool) -> str:
    return text or "" if is_code else " ".join(f".{text or ''}.".split())[1:-1]
