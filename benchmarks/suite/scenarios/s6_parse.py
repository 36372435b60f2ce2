"""S6: parsing alone, one process: HTML and plain text against stock unstructured, PDF against pdfminer.six under its ``fast``."""

import io
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.html_agreement import Counts, stock_partitioner, words
from benchmarks.html_agreement import compare as compare_reading
from benchmarks.suite.bench import Bench
from benchmarks.suite.corpus import find_pages
from benchmarks.suite.results import OURS, Row, ScenarioResult
from benchmarks.suite.rounds import Contestant, ContestantFailedError, Measured, compare, in_this_process, say

PDFS = Path("/usr/share/doc/texlive-doc")
"""Debian's packages texlive-latex-base-doc and texlive-latex-recommended-doc."""
LARGEST_PDF = 2_000_000
Texts = Callable[[Path], list[str]]


def run(bench: Bench) -> list[ScenarioResult]:
    return [_html(bench), _plain(bench), _pdf(bench)]


def _html(bench: Bench) -> ScenarioResult:
    partition, tagger = stock_partitioner()
    pages = find_pages(bench.corpus, bench.size.parsed)
    result = ScenarioResult("s6", "Parsing HTML", bench.describe(pages=len(pages), stock=f"partition_html, {tagger}"))
    counts = Counts()
    for page in pages:  # also the warm-up of both
        compare_reading(page.read_bytes(), page.name, partition, counts)
    result.facts = {
        "words_kept": round(counts.kept_pruned / counts.words_pruned, 5),
        "headings": f"{counts.headings_agreed} of {counts.headings}",
    }

    def stock(page: Path) -> list[str]:
        return _stock_texts(partition(file=io.BytesIO(page.read_bytes()), languages=["eng"]))

    result.rows = _race(bench, pages, ours=_our_texts, stock=stock)
    result.notes = ["words kept: of those that unstructured finds outside navigation"]
    return result


def _plain(bench: Bench) -> ScenarioResult:
    os.environ["DO_NOT_TRACK"] = "1"
    from unstructured.partition.text import partition_text

    pages = find_pages(bench.corpus, bench.size.parsed, suffix=".txt")
    result = ScenarioResult("s6-text", "Parsing plain text", bench.describe(files=len(pages), stock="partition_text"))

    def stock(page: Path) -> list[str]:
        return _stock_texts(partition_text(file=io.BytesIO(page.read_bytes()), languages=["eng"]))

    ours, theirs = (sum((words(read(page)) for page in pages), Counter[str]()) for read in (_our_texts, stock))
    result.facts = {"words_kept": round((ours & theirs).total() / max(1, theirs.total()), 5)}
    result.rows = _race(bench, pages, ours=_our_texts, stock=stock)
    return result


def _race(bench: Bench, pages: Sequence[Path], *, ours: Texts, stock: Texts) -> list[Row]:
    def work(read: Texts) -> Callable[[], dict[str, Any]]:
        return lambda: {"words": sum(len(text.split()) for page in pages for text in read(page)), "files": len(pages)}

    rows = compare(
        [
            Contestant(OURS, in_this_process(work(ours)), "one process"),
            Contestant("unstructured", in_this_process(work(stock)), "stock, one process"),
        ],
        bench.budget,
    )
    for row in rows:
        if row.wall is not None:
            row.facts["words_per_s"] = round(row.facts["words"] / row.wall.median)
    return rows


def _our_texts(page: Path) -> list[str]:
    from rag_pipeline.adapters.parsing.dispatch import parse_document

    return [element.text for element in parse_document(page.read_bytes(), page.name).elements]


def _stock_texts(elements: Sequence[Any]) -> list[str]:
    return [element.text for element in elements]


def _pdf(bench: Bench) -> ScenarioResult:
    result = ScenarioResult("s6-pdf", "Parsing PDF", bench.describe(corpus=PDFS.name))
    found = sorted(file for file in PDFS.rglob("*.pdf") if file.stat().st_size < LARGEST_PDF) if PDFS.exists() else []
    if not found:
        result.failure = f"no PDF below {PDFS}; install Debian's texlive-latex-base-doc"
        return result
    files = found[:: max(1, len(found) // max(1, bench.size.parsed // 3))][: bench.size.parsed // 3]
    pages = _count_pages(files)
    result.settings.update(files=len(files), pages=pages)
    result.notes = ["unstructured's `fast` strategy is pdfminer.six and a classifier; it cannot be imported without torchvision"]
    theirs: list[str] = []
    result.rows = compare(
        [
            Contestant(OURS, in_this_process(lambda: {"words": _count_words(files), "pages": pages}), "one process"),
            Contestant("pdfminer.six", lambda: _stock_pdf(bench, files, pages, theirs), "one process"),
        ],
        bench.budget,
    )
    for row in result.rows:
        if row.wall is not None:
            row.facts["pages_per_s"] = round(pages / row.wall.median, 1)
    if theirs:
        ours = words(text for file in files for text in _our_texts(file))
        stock = words(theirs)
        result.facts["words_kept"] = round((ours & stock).total() / max(1, stock.total()), 4)
    return result


def _count_pages(files: Sequence[Path]) -> int:
    import pypdfium2

    total = 0
    for file in files:
        document = pypdfium2.PdfDocument(file)
        total += len(document)
        document.close()
    return total


def _count_words(files: Sequence[Path]) -> int:
    return sum(len(text.split()) for file in files for text in _our_texts(file))


def _stock_pdf(bench: Bench, files: Sequence[Path], pages: int, texts: list[str]) -> Measured:
    """Seconds of reading; the start of its process and imports are left out."""
    say("  pdfminer.six, in the peers' environment")
    values = bench.peers.answer("run_pdfminer.py", {"files": [str(file) for file in files]})
    if not values["texts"]:
        raise ContestantFailedError("it found no text")
    texts[:] = values["texts"]
    facts = {"words": sum(len(text.split()) for text in values["texts"]), "pages": pages, "failed": values["failed"]}
    return Measured(values["seconds"], values["cpu_s"], facts)
