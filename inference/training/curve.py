"""Draws a learning curve. matplotlib (extra ``plots``), without a display."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from inference.training.loop import Point
from lanai.errors import UsageError

__all__ = ["can_draw", "draw_curve"]


def can_draw() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def draw_curve(curve: Sequence[Point], path: Path, *, title: str, unit: str) -> None:
    """Loss of batches and of held-out examples over steps, as a PNG.

    Raises ``UsageError`` without matplotlib, and where the file cannot be written.
    """
    if not can_draw():
        raise UsageError("matplotlib is not installed", hint="pip install 'lanai[plots]'")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    learnt = [(point.step, point.loss) for point in curve if point.loss is not None]
    exams = [(point.step, point.held_out) for point in curve if point.held_out is not None]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for points, style, label in ((learnt, "-", "batches"), (exams, "o-", "held out")):
        axes.plot([x for x, _ in points], [y for _, y in points], style, label=label)
    axes.set(xlabel="step", ylabel=unit, title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    FigureCanvasAgg(figure)
    try:
        figure.savefig(path, format="png", dpi=150)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
