"""A profile as a picture. matplotlib (extra ``plots``), without a display."""

import importlib.util
from pathlib import Path

from inference.packing.body import BODY
from inference.profiling.records import Profile
from lanai.errors import UsageError

__all__ = ["draw"]

PARTS = tuple(name for names in BODY.values() for name in names)


def draw(profile: Profile, path: Path) -> None:
    """Bits of every matrix, and estimated loss over time a token; PNG or SVG by the name's ending.

    Raises ``UsageError`` without matplotlib, and where the file cannot be written.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError(
            "matplotlib is not installed", hint="pip install 'lanai[plots]', or --plot FILE.html"
        )
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
    chosen = profile.allocation.chosen
    layers = sum(name.endswith(".q") for name in chosen)
    grid = [
        [chosen[f"layers.{layer}.{part}"][0] + 0.5 * chosen[f"layers.{layer}.{part}"][1]
         for part in PARTS]
        for layer in range(layers)
    ]  # fmt: skip
    image = left.imshow(grid, aspect="auto", cmap="viridis", vmin=2, vmax=4.5)
    left.set_xticks(range(len(PARTS)), PARTS, rotation=45)
    left.set(ylabel="layer", title=f"bits at {profile.allocation.totals.body_bits:.2f} a weight")
    figure.colorbar(image, ax=left, ticks=[2, 3, 4, 4.5])
    points = [each.totals for each in profile.frontier]
    right.plot([t.latency_ms for t in points], [t.loss for t in points], "o-", label="allocations")
    for name, totals in profile.uniform.items():
        right.plot([totals.latency_ms], [totals.loss], "s")
        right.annotate(f"all {name}", (totals.latency_ms, totals.loss))
    totals = profile.allocation.totals
    right.plot([totals.latency_ms], [totals.loss], "*", markersize=16, label="chosen")
    right.set(xlabel="ms a token (products)", ylabel="estimated loss, nats a token", yscale="log")
    right.set_title(profile.name)
    right.grid(alpha=0.3)
    right.legend()
    FigureCanvasAgg(figure)
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError):
        raise UsageError(f"cannot write {path}", hint="a name ending in .png or .svg") from None
