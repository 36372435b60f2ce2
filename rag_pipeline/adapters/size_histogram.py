"""A picture of how large the chunks are, for the web UI."""

import base64
import io
from collections.abc import Mapping


def draw_histogram(sizes: Mapping[int, int], *, step: int, limit: int) -> str:
    """Markdown with a PNG of chunks by tokens inside; ``sizes`` counts chunks by lower edge, ``limit`` is the model's window."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2.6), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    edges = sorted(sizes)
    axes.bar(edges, [sizes[edge] for edge in edges], width=step * 0.9, align="edge", color="#4F43DD")
    axes.axvline(limit, color="#D83A3A", linestyle="--", linewidth=1)
    axes.annotate("model window", (limit, 0.95), xycoords=("data", "axes fraction"), ha="right", va="top", fontsize=8)
    axes.set_xlabel("tokens of the model input")
    axes.set_ylabel("chunks")
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return f"![chunks by tokens](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"
