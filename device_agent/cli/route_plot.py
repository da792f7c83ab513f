"""Draws deferral curves. matplotlib (extra ``plots``), without a display."""

from pathlib import Path
from typing import Any

from lanai.errors import UsageError

__all__ = ["draw"]

LINES = {"router": "-", "length": "--", "random": ":", "oracle": "-."}


def draw(document: dict[str, Any], path: Path) -> None:
    """Accuracy over the share sent, as a PNG. Raises ``UsageError`` where it cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curve = document["curve"]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, style in LINES.items():
        label = f"router ({document['router']})" if name == "router" else name
        axes.plot(curve["share"], curve[name], style, label=label)
    axes.set(xlabel="share of questions sent to the cloud", ylabel="accuracy")
    axes.set_title(f"{document['questions']} questions")
    axes.grid(alpha=0.3)
    axes.legend()
    FigureCanvasAgg(figure)
    try:
        figure.savefig(path, format="png", dpi=150)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
