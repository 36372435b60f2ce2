"""Documents to index: real pages copied, or small files made from a seed; and edits, deletions and renames of them."""

import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.suite.rounds import ContestantFailedError

PYTHON_PAGES = Path("/usr/share/doc/python3.11/html")
"""Debian's package python3.11-doc: 530 pages."""
WORDS = [
    "index",
    "vector",
    "bucket",
    "ledger",
    "source",
    "chunk",
    "model",
    "query",
    "point",
    "alias",
    "document",
    "schema",
    "digest",
    "store",
    "batch",
    "window",
    "prompt",
    "token",
    "record",
    "shard",
    "replica",
    "segment",
    "page",
    "table",
    "column",
    "row",
    "value",
    "key",
    "cache",
    "queue",
    "worker",
    "lock",
    "scan",
    "stage",
]


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened to a folder."""

    edited: int
    deleted: int
    moved: int


def find_pages(corpus: Path, count: int, *, suffix: str = ".html") -> list[Path]:
    """So many pages, evenly over the whole corpus."""
    found = sorted(page for page in corpus.rglob(f"*{suffix}") if page.is_file())
    if not found:
        raise ContestantFailedError(f"no {suffix} pages below {corpus}; install Debian's python3.11-doc, or name --corpus")
    return found[:: max(1, len(found) // count)][:count]


def copy_pages(target: Path, corpus: Path, count: int) -> list[Path]:
    """Copies of so many pages."""
    copies = []
    for page in find_pages(corpus, count):
        copies.append(target / page.relative_to(corpus))
        copies[-1].parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(page, copies[-1])
    return copies


def make_small_files(target: Path, count: int, *, seed: int, sentences: int = 1) -> list[Path]:
    """Small Markdown files of different texts, a hundred to a folder."""
    chance = random.Random(seed)
    files = []
    for number in range(count):
        files.append(target / f"{number // 100:04d}" / f"{number}.md")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        files[-1].write_text(f"# Document {number}\n\n" + " ".join(_sentence(chance) for _ in range(sentences)) + "\n")
    return files


def _sentence(chance: random.Random) -> str:
    return f"The {' '.join(chance.choices(WORDS, k=12))} of {chance.randrange(10**6)}."


def change_files(files: Sequence[Path], *, seed: int, share: float = 0.01) -> Changes:
    """Edits one document in a hundred, deletes one in a thousand, moves one in a thousand; at least one of each.

    An edit puts a paragraph in front of the last closing tag, or at the end: most of the document stays as it was.
    """
    chance = random.Random(seed)
    edits, few = max(1, round(len(files) * share)), max(1, round(len(files) * share / 10))
    chosen = chance.sample(list(files), edits + 2 * few)
    for file in chosen[:edits]:
        _edit(file, _sentence(chance))
    for file in chosen[edits : edits + few]:
        file.unlink()
    for file in chosen[edits + few :]:
        file.rename(file.with_name(f"moved-{file.name}"))
    return Changes(edits, few, few)


def _edit(file: Path, sentence: str) -> None:
    text = file.read_text(encoding="utf-8", errors="surrogateescape")
    body, tag, rest = text.rpartition("</section>")
    changed = f"{body}<p>{sentence}</p>{tag}{rest}" if tag else f"{text}\n{sentence}\n"
    file.write_text(changed, encoding="utf-8", errors="surrogateescape")
