"""Results as tables: on the terminal and in ``docs/performance.md``, between two marks; what is written by hand stays."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suite.results import Row, ScenarioResult, scenario_order
from benchmarks.suite.statistics import Ratio, Sample

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
HEAD = ("system", "seconds, median (min-max)", "n", "times ours", "processor s", "found")
HIDDEN = {"work_s", "start_s", "encode_s", "stages_s", "answers"}
"""Facts that are in the JSON alone."""


def table(result: ScenarioResult) -> list[tuple[str, ...]]:
    """A line for each row of a result, without the head."""
    return [_line(result, row) for row in result.rows]


def groups(result: ScenarioResult) -> dict[str, list[tuple[str, str]]]:
    """Facts that hold several figures, each as the lines of a table of its own."""
    held = {name: _shown(facts) for name, facts in _shown(result.facts).items() if isinstance(facts, Mapping)}
    return {name: [(key.replace("_", " "), _value(value)) for key, value in facts.items()] for name, facts in held.items()}


def _line(result: ScenarioResult, row: Row) -> tuple[str, ...]:
    if row.wall is None:
        return (row.name, f"did not run: {row.failure}", "", "", "", "")
    ratio = result.ratio(row)
    cpu = f"{row.cpu.median:.3g}" if row.cpu and row.cpu.median else ""
    return (row.name, _seconds(row.wall), str(len(row.wall_s)), _ratio(ratio), cpu, _facts(row.facts))


def _seconds(sample: Sample) -> str:
    mark = f", {sample.mark}" if sample.mark else ""
    return f"{_number(sample.median)} ({_number(min(sample.values))}-{_number(max(sample.values))}){mark}"


def _ratio(ratio: Ratio | None) -> str:
    return f"{ratio.median:.2f} ({ratio.least:.2f}-{ratio.most:.2f})" if ratio else ""


def _number(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3g}"


def _facts(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_value(value)}" for name, value in _shown(facts).items())


def _shown(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in HIDDEN and value is not None}


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return f"({_facts(value)})"
    return "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def show(result: ScenarioResult) -> None:
    """The table of one result on standard output."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    shown = Table(*HEAD, title=f"{result.key}: {result.title}", title_justify="left")
    for line in table(result):
        shown.add_row(*line)
    console.print(shown if result.rows else f"{result.key}: {result.title}")
    for name, lines in groups(result).items():
        figures = Table(name, "")
        for figure in lines:
            figures.add_row(*figure)
        console.print(figures)
    for line in _remarks(result):
        console.print(f"  {line}", markup=False)


def _remarks(result: ScenarioResult) -> list[str]:
    lines = [f"did not run: {result.failure}"] if result.failure else []
    single = {name: value for name, value in result.facts.items() if not isinstance(value, Mapping)}
    if single:
        lines.append(_facts(single))
    return [*lines, *result.notes]


def page_part(results: Mapping[str, ScenarioResult], images: Mapping[str, str]) -> str:
    """The generated part of the page: what the marks mean, then each scenario."""
    parts = [INTRODUCTION]
    for key in sorted(results, key=scenario_order):
        parts.append(_section(results[key], images.get(key)))
    return "\n\n".join(parts)


INTRODUCTION = """\
Seconds are medians with the least and the most. *times ours* is a system's time over the pipeline's in the same run, with the
range that the repetitions allow. **noisy**: slowest and fastest differ by more than 15 % of the median; **few**: fewer than five
repetitions. Neither may be quoted. Below each table stand the machine and the settings; the raw values are in
`benchmarks/results.json`."""


def _section(result: ScenarioResult, image: str | None) -> str:
    parts = [f"### {result.key.upper()}: {result.title}"]
    if result.rows:
        parts.append(_markdown(HEAD, table(result)))
    parts += [_markdown((name, ""), lines) for name, lines in groups(result).items()]
    if image:
        parts.append(f"![{result.title}]({image})")
    remarks = [*_remarks(result), _conditions(result)]
    parts.append("\n".join(f"- {line}" for line in remarks if line))
    return "\n\n".join(parts)


def _markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def _conditions(result: ScenarioResult) -> str:
    machine = result.machine
    if not machine:
        return _facts(result.settings)
    return (
        f"{machine['date']}, {machine['device']}, {machine['cores']} cores, load {machine['load']} at the start; "
        f"{machine['system']}; "
        f"{_facts(machine['versions'])}; {_facts(result.settings)}"
    )


def replace_part(page: str, part: str) -> str:
    """The page with everything between the marks replaced. Raises ValueError for a page without them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{part}\n\n{END}{after}"


def write_page(page: Path, results: Mapping[str, ScenarioResult]) -> None:
    """The page and its plots anew, from the results alone."""
    from benchmarks.suite.plots import draw

    images = {}
    for key, result in results.items():
        file = page.parent / "images" / f"performance-{key}.png"
        if draw(result, file):
            images[key] = f"images/{file.name}"
    page.write_text(replace_part(page.read_text(), page_part(results, images)))
