import pytest

from rag_pipeline.adapters.parsing.dispatch import parse_document
from rag_pipeline_tests.hostile.fuzz import fuzz
from rag_pipeline_tests.hostile.mutants import mutant, mutants, seeds

MUTANTS = 500
REASONS = {
    *("empty", "no_text", "malformed", "encrypted", "needs_ocr", "encoding", "unsupported_type", "parsed"),
    *(
        "limit_expansion",
        "limit_entries",
        "limit_cells",
        "limit_pages",
        "limit_depth",
        "limit_field",
        "limit_size",
        "limit_pixels",
    ),
}


def test_every_seed_is_sound() -> None:
    for path, data in seeds().items():
        assert parse_document(data, path).elements, path


def test_a_mutant_is_the_same_each_time_and_hardly_ever_its_seed() -> None:
    found = list(mutants(1, 200))
    assert found == [mutant(1, number) for number in range(200)]
    assert sum(one.data == seeds()[one.path] for one in found) < 10
    assert len({one.data for one in found}) > 190


@pytest.mark.deep
def test_five_hundred_mutants_are_parsed_or_refused_with_a_reason() -> None:
    tally = fuzz(MUTANTS, 1)
    assert (tally.total, tally.deaths) == (MUTANTS, [])
    assert {reason for _, reason in tally.outcomes} <= REASONS
    assert {name for name, reason in tally.outcomes if reason == "parsed"} == {path.rpartition(".")[2] for path in seeds()}
