"""A result as bars with the range of its repetitions."""

from pathlib import Path

from benchmarks.suite.results import OURS, ScenarioResult

OURS_COLOUR, OTHER_COLOUR, LIMIT_COLOUR = "#2f6f4f", "#9aa5b1", "#c9a227"
LOGARITHMIC = 20.0
"""Largest over smallest median from which the axis is logarithmic."""


def draw(result: ScenarioResult, file: Path) -> bool:
    """Writes the plot; false where there is nothing to compare."""
    rows = [row for row in result.rows if row.wall is not None]
    if len(rows) < 2:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    samples = [row.wall for row in rows if row.wall is not None]
    medians = [sample.median for sample in samples]
    ranges = [
        [sample.median - min(sample.values) for sample in samples],
        [max(sample.values) - sample.median for sample in samples],
    ]
    figure = Figure(figsize=(8, 0.6 + 0.36 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(
        [row.name for row in rows], medians, xerr=ranges, color=[_colour(row.system, row.variant) for row in rows], capsize=2
    )
    axes.invert_yaxis()
    if max(medians) > LOGARITHMIC * min(medians):
        axes.set_xscale("log")
    axes.set_xlabel("seconds")
    axes.set_title(result.title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    FigureCanvasAgg(figure)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110, metadata={"Software": None})
    return True


def _colour(system: str, variant: str) -> str:
    return OURS_COLOUR if system == OURS else LIMIT_COLOUR if variant == "encoder alone" else OTHER_COLOUR
