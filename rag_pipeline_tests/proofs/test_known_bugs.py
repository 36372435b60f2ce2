"""The tests are tested: every known bug, patched in, makes its scenario fail; without it the scenario passes."""

from collections.abc import Callable

import pytest

from rag_pipeline.errors import RagPipelineError
from rag_pipeline_tests.proofs.known_bugs import KNOWN_BUGS, SCENARIOS, KnownBug
from rag_pipeline_tests.proofs.scenarios import Stages


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    return Stages(tmp_path_factory.mktemp("proofs")).make()


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_scenario_passes(stages: Stages, scenario: Callable[[Stages], None]) -> None:
    scenario(stages)


@pytest.mark.parametrize("bug", KNOWN_BUGS, ids=lambda bug: bug.name)
def test_bug_is_caught(stages: Stages, monkeypatch: pytest.MonkeyPatch, bug: KnownBug) -> None:
    bug.inject(monkeypatch)
    with pytest.raises((AssertionError, RagPipelineError)):
        bug.caught_by(stages)
