"""Golden questions, and what a ranking is worth on each. Measures by ir-measures, which wraps trec_eval."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ir_measures
import numpy as np
from ir_measures import Success, nDCG

MEASURES = ("page@5", "page@10", "nDCG@10", "passage@5", "page in 5 hits")
"""Share of questions of which one relevant page is among the first 5 (10) different pages; discounted gain of the first ten
pages; share of which one of the first five hits holds the quoted answer; share of which one of the first five hits, repeats
of a page counted, is of a relevant page."""
BOOTSTRAP_ROUNDS = 10_000

Judged = Mapping[str, list[float]]
"""By measure a value for each question, in their order."""


@dataclass(frozen=True, slots=True)
class Question:
    """A need, the pages that answer it, and the words of the answer on the first of them."""

    query: str
    pages: frozenset[str]
    quote: str


def read_questions(file: Path) -> list[Question]:
    """One question a line; a page is named ``corpus/path``."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [
        Question(line["query"], frozenset(f"{line['corpus']}/{page}" for page in line["relevant"]), plain(line["quote"]))
        for line in lines
    ]


def plain(text: str) -> str:
    """The text with every run of white space as one blank."""
    return re.sub(r"\s+", " ", text).strip()


def judge(questions: Sequence[Question], answers: Sequence[Sequence[tuple[str, str]]]) -> Judged:
    """The worth of each answer: hits as (page, text), best first."""
    pages = [list(dict.fromkeys(page for page, _ in hits)) for hits in answers]
    relevant = [dict.fromkeys(question.pages, 1) for question in questions]
    by_page = _measure(relevant, pages, {"page@5": Success @ 5, "page@10": Success @ 10, "nDCG@10": nDCG @ 10})
    holds_quote = [[question.quote in plain(text) for _, text in hits] for question, hits in zip(questions, answers, strict=True)]
    is_of_page = [[page in question.pages for page, _ in hits] for question, hits in zip(questions, answers, strict=True)]
    return {
        **by_page,
        "passage@5": [float(any(flags[:5])) for flags in holds_quote],
        "page in 5 hits": [float(any(flags[:5])) for flags in is_of_page],
    }


def _measure(
    relevant: Sequence[Mapping[str, int]], ranked: Sequence[Sequence[str]], measures: Mapping[str, ir_measures.Measure]
) -> dict[str, list[float]]:
    qrels = {str(number): dict(pages) for number, pages in enumerate(relevant)}
    run = {str(number): {page: -float(rank) for rank, page in enumerate(pages)} for number, pages in enumerate(ranked)}
    names = {measure: name for name, measure in measures.items()}
    values = {name: [0.0] * len(ranked) for name in measures}
    for metric in ir_measures.iter_calc(list(measures.values()), qrels, run):
        values[names[metric.measure]][int(metric.query_id)] = float(metric.value)
    return values


def difference_interval(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean difference, questions drawn again and again with the same seed."""
    differences = np.subtract(ours, theirs)
    draws = np.random.default_rng(0).integers(0, differences.size, size=(BOOTSTRAP_ROUNDS, differences.size))
    low, high = np.percentile(differences[draws].mean(axis=1), [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)
