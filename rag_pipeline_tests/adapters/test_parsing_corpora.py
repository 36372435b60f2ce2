"""Real documents that nobody here wrote: the HTML of Debian's python3.11-doc and postgresql-doc-15."""

from pathlib import Path

import pytest

from benchmarks.html_agreement import FOLDERS, Counts, compare, spread
from rag_pipeline.adapters.parser_pool import ProcessPoolParser
from rag_pipeline.adapters.parsing.unstructured_library import load_partitioner
from rag_pipeline.ports import ParseRequest
from rag_pipeline.schema import DocumentType, ElementKind, ParsedDocument
from rag_pipeline.settings import ParsingSettings

pytestmark = pytest.mark.deep


def test_two_hundred_real_pages_agree_with_unstructured() -> None:
    partition = load_partitioner("unstructured.partition.html", "partition_html")
    counts = Counts()
    for path in spread(FOLDERS, 200):
        compare(path.read_bytes(), path.name, partition, counts)
    assert counts.pages == 200
    assert counts.kept_pruned >= 0.9995 * counts.words_pruned
    assert counts.headings_agreed == counts.headings > 800
    assert counts.kinds["title", "title"] >= 0.995 * sum(count for (stock, _), count in counts.kinds.items() if stock == "title")


def test_every_real_page_is_parsed_and_no_mark_of_the_page_builder_is_left() -> None:
    files = [path for folder in FOLDERS for path in sorted(Path(folder).rglob("*.html"))]
    parser = ProcessPoolParser(ParsingSettings(workers=2))
    results = [
        outcome.result for outcome in parser.parse_all(ParseRequest(str(path), path.name, path.read_bytes()) for path in files)
    ]
    parser.close()
    documents = [result for result in results if isinstance(result, ParsedDocument)]
    assert len(documents) == len(files) == 1699
    assert all(document.type is DocumentType.HTML and document.title for document in documents)
    titles = [element.text for document in documents for element in document.elements if element.kind is ElementKind.TITLE]
    assert not [title for title in titles if "¶" in title]


def test_real_restructuredtext_has_the_sections_of_its_page() -> None:
    folder = Path(FOLDERS[0])
    parser = ProcessPoolParser(ParsingSettings(workers=2))
    shares = []
    for source in sorted((folder / "_sources" / "howto").glob("*.rst.txt")):
        page = folder / "howto" / source.name.replace(".rst.txt", ".html")
        both = parser.parse_all(ParseRequest(path.name, path.name, path.read_bytes()) for path in (source, page))
        rst, html = (headings(outcome.result) for outcome in both if isinstance(outcome.result, ParsedDocument))
        shares.append(len(rst & html) / len(html))
    parser.close()
    assert len(shares) >= 15
    assert sum(shares) / len(shares) > 0.9


def headings(document: ParsedDocument) -> set[str]:
    return {
        "".join(letter for letter in element.text if letter.isalnum())
        for element in document.elements
        if element.kind is ElementKind.TITLE and len(element.heading_path) < 3
    }
