"""The scenarios by key. Each module has ``run(bench)``, which answers with its results; none is imported before it runs."""

from collections.abc import Callable
from importlib import import_module

from benchmarks.suite.bench import Bench
from benchmarks.suite.results import ScenarioResult

SCENARIOS = {
    "s1": "s1_cold_index",
    "s2": "s2_noop",
    "s3": "s3_changes",
    "s4": "s4_model_switch",
    "s5": "s5_kill",
    "s6": "s6_parse",
    "s7": "s7_chunk",
    "s8": "s8_embed",
    "s9": "s9_store",
    "s10": "s10_dagster",
    "memory": "memory",
}
ALL = tuple(key for key in SCENARIOS if key != "memory")
"""What runs when none is named."""


def load(key: str) -> Callable[[Bench], list[ScenarioResult]]:
    """The scenario's function."""
    run: Callable[[Bench], list[ScenarioResult]] = import_module(f"benchmarks.suite.scenarios.{SCENARIOS[key]}").run
    return run
