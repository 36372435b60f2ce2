"""What a history is made of, by chance: names, texts, settings, works and deaths."""

from typing import Any

from hypothesis import strategies as st

from rag_pipeline_tests.projects import article
from rag_pipeline_tests.round_trip.histories import LENIENT, PLACES, Crash, FreshBuilds, twin

GOOD_NAMES = ["one.md", "two.txt", "three.txt", "a/four.md", "a/five.txt", "b/c/six.md"]
BAD_NAMES = ["bad.md", "a/worse.txt"]
NAMES = st.sampled_from(GOOD_NAMES)
TOPIC_NAMES = ["apples", "pears", "한국어 문서"]
TOPICS = st.sampled_from(TOPIC_NAMES)
LENGTHS = [1, 3]
TEXTS = [article(topic, length) for topic in TOPIC_NAMES for length in LENGTHS]
FRESH_BUILDS = FreshBuilds({name: [*TEXTS, *map(twin, TEXTS)] for name in GOOD_NAMES})
SMALL = {"size": 40, "overlap": 0.1}
TABLES = {kind: {"strategy": "prose", "size": 256} for kind in ("table", "code", "slides", "email")}
MODELS: dict[str, dict[str, Any]] = {
    "first": {},
    "prompt": {"document_prompt": "passage: "},
    "question": {"query_prompt": "query: "},
    "short": {"dimension": 128},
    "window": {"max_tokens": 256},
}
AGES_NS = st.sampled_from([0, 3_600 * 10**9])
WORK_NAMES = ("index", "reindex", "reindex_forced", "reindex_some", "release", "roll_back", "retain")


def crashes(work: str) -> st.SearchStrategy[Crash]:
    """Deaths at one of the calls that this work makes."""
    places = st.sampled_from(PLACES[work.split("_")[0]])
    return st.builds(Crash, st.just(work), places, call=st.sampled_from([1, 1, 1, 2, 3]), is_after=st.booleans())


CRASHES = {work: st.one_of(crashes(work), st.none(), crashes(work)) for work in WORK_NAMES}
ORDERS = st.one_of([st.tuples(st.just(work), CRASHES[work]) for work in WORK_NAMES])
ANY_CRASH = st.one_of(st.none(), *(crashes(work) for work in ("reindex_forced", "release", "roll_back", "retain")))


def changes_of(model: str, *, cuts: str, way: str) -> dict[str, Any]:
    """Settings that name this model, cut documents of one type small, and apply that in place or beside."""
    size = 256 if model == "window" else 512
    types: dict[str, Any] = dict(TABLES) if model == "window" else {}
    if cuts:
        types[cuts] = SMALL
    chunking = {"default": {"size": size}, "types": types, "allow_unusual_sizes": True} if types else {}
    strategy = dict.fromkeys(("chunking", "parsing", "points"), way)
    return {"embedding": MODELS[model], "chunking": chunking, "release": {**LENIENT, "strategy": strategy}}


SETTINGS = st.builds(
    changes_of,
    st.sampled_from(list(MODELS)),
    cuts=st.sampled_from(["", "markdown", "text"]),
    way=st.sampled_from(["in_place", "candidate"]),
)
