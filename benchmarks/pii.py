"""Masking: words a second with and without names, false alarms in ordinary text, and how many names are found.

python benchmarks/pii.py /usr/share/doc/python3.11/html/library --documents 100
"""

import argparse
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lxml import html

from rag_pipeline.adapters.presidio_analyzer import PresidioFinder
from rag_pipeline.guardrails.pii.detection import find_patterned
from rag_pipeline.guardrails.pii.kinds import LOCATION, NAMES, PERSON, Kind
from rag_pipeline.guardrails.pii.masking import DocumentMasker
from rag_pipeline.guardrails.pii.policy import MaskingPolicy
from rag_pipeline.schema import DocumentType, Element, ElementKind, ParsedDocument

PEOPLE = (
    "Alice Johnson|Robert Miller|Maria Garcia|James Thompson|Linda Anderson|Priya Natarajan|Kim Min-jun|Olga Ivanova|Chen Wei|"
)
PEOPLE += "Fatima Al-Sayed|Jürgen Schäfer|Thabo Mokoena|Hong Gil-dong|Siobhan Murphy|Luca Bianchi|Yuki Tanaka"
PLACES = "Berlin|Chicago|London|Madrid|Tokyo|Seoul|Busan|Nairobi|São Paulo|Warsaw|Cape Town|Jakarta|Gothenburg|Daegu"
FRAMES = (
    "Please send the contract to {P} before Friday.",
    "{P} moved to {L} last year and works from home.",
    "The meeting in {L} was led by {P}.",
    "Signed: {P}, {L}",
    "Yesterday {P} called about the invoice.",
    "According to {P}, the server in {L} has to be restarted.",
    "Customer: {P}\nCity: {L}",
    "The committee approved the budget without changes.",
    "Restart the service with systemctl and read the log file.",
    "{P} and {Q} share an office in {L}.",
)
WORDS = 10_000


def main() -> None:
    arguments = _arguments()
    documents = _documents(arguments.folder, arguments.documents)
    words = sum(len(element.text.split()) for document in documents for element in document.elements)
    print(f"{len(documents)} documents, {words:,} words of {arguments.folder}")
    everything = frozenset(map(str, Kind))
    finder = PresidioFinder(frozenset(NAMES), threshold=0.5, workers=arguments.workers)
    finder.find_all(["Warm up with Alice Johnson in Berlin."], frozenset(NAMES))
    for title, kinds in (("rules alone", everything), (f"rules and names, {arguments.workers} processes", everything | {*NAMES})):
        policy = MaskingPolicy(kinds, "replace")
        masker = DocumentMasker(lambda _, policy=policy: policy, finder=finder)  # type: ignore[misc]
        started = time.perf_counter()
        masked = masker.mask_all([("docs", document) for document in documents])
        seconds = time.perf_counter() - started
        counts = sum((Counter(one.entities) for one in masked), Counter[str]())
        print(f"{title}: {words / seconds:,.0f} words/s; masked {dict(counts)}")
    _show_false_alarms(documents, finder)
    _show_names(finder, arguments.sentences)
    finder.close()


def _show_false_alarms(documents: Sequence[ParsedDocument], finder: PresidioFinder) -> None:
    """Everything found in the first words of ordinary technical text, for a person to judge."""
    taken, words = list[ParsedDocument](), 0
    for document in documents:
        taken.append(document)
        words += sum(len(element.text.split()) for element in document.elements)
        if words >= WORDS:
            break
    texts = [element.text for document in taken for element in document.elements]
    found = [(str(f.kind), t[f.start : f.end]) for t in texts for f in find_patterned(t, frozenset(map(str, Kind)))]
    named = [
        (f.kind, t[f.start : f.end]) for t, fs in zip(texts, finder.find_all(texts, frozenset(NAMES)), strict=True) for f in fs
    ]
    for title, hits in (("patterned", found), ("names", named)):
        share = sum(len(text.split()) for _, text in hits) / words
        print(f"{title} found in {words:,} words of ordinary text: {len(hits)} ({share:.2%} of the words): {hits[:12]}")


def _show_names(finder: PresidioFinder, sentences: int) -> None:
    """Precision and recall over sentences whose names are known, by kind; a finding counts when it covers the name."""
    chance = random.Random(1)
    right, wanted, given = Counter[str](), Counter[str](), Counter[str]()
    texts, truths = [], []
    for _ in range(sentences):
        people, place = chance.sample(PEOPLE.split("|"), 2), chance.choice(PLACES.split("|"))
        frame = chance.choice(FRAMES)
        texts.append(frame.format(P=people[0], Q=people[1], L=place))
        parts = (("{P}", PERSON, people[0]), ("{Q}", PERSON, people[1]), ("{L}", LOCATION, place))
        truths.append([(kind, name) for part, kind, name in parts if part in frame])
    for text, truth, found in zip(texts, truths, finder.find_all(texts, frozenset(NAMES)), strict=True):
        spans = [(kind, text.index(name), text.index(name) + len(name)) for kind, name in truth]
        wanted.update(kind for kind, *_ in spans)
        given.update(f.kind for f in found)
        right.update(kind for kind, start, end in spans if any(f.start <= start and end <= f.end for f in found))
        right.update(
            f"good {f.kind}"
            for f in found
            if any(f.kind == kind and f.start < end and start < f.end for kind, start, end in spans)
        )
    for kind in NAMES:
        precision, recall = right[f"good {kind}"] / max(1, given[kind]), right[kind] / max(1, wanted[kind])
        print(f"{kind}: {wanted[kind]} planted, recall {recall:.1%} (covered whole), precision {precision:.1%}")


def _documents(folder: Path, limit: int) -> list[ParsedDocument]:
    found = []
    for file in sorted(folder.glob("*.html"))[:limit]:
        body = html.parse(file).getroot()
        texts = (" ".join(node.text_content().split()) for node in body.iter("p", "li", "dt", "pre", "h1", "h2", "h3"))
        elements = tuple(Element(ElementKind.TEXT, text) for text in texts if text)
        found.append(ParsedDocument(DocumentType.HTML, "html", file.stem, elements))
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("/usr/share/doc/python3.11/html/library"))
    parser.add_argument("--documents", type=int, default=40, help="how many files at most (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes that look for names (default: %(default)s)")
    parser.add_argument("--sentences", type=int, default=400, help="sentences with known names (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
