"""Rows of numbers to figures with intervals: percentile bootstrap over cases, paired by case."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

__all__ = ["Metric", "auroc", "f1", "figures", "mean", "share"]

Side = Mapping[str, float]
Metric = Callable[[Sequence[Side]], float | None]
RESAMPLES: Final = 1000
SIDES: Final = ("feature", "plain", "free")


def figures(metrics: Mapping[str, Metric], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each metric by side; ``difference``: feature minus plain, over the same cases."""
    if not rows:
        return {"n": 0, "figures": {}, "seconds": {}, "errors": {}}
    return {
        "n": len(rows),
        "figures": {name: _sides(metric, rows) for name, metric in metrics.items()},
        "seconds": {
            side: statistics.median(row[f"{side}_s"] for row in rows) for side in SIDES[:2]
        },
        "errors": {side: sum(f"{side}_error" in row for row in rows) for side in SIDES[:2]},
    }


def mean(key: str) -> Metric:
    """Of the cases that have the number."""

    def of(sides: Sequence[Side]) -> float | None:
        values = [side[key] for side in sides if key in side]
        return sum(values) / len(values) if values else None

    return of


def share(part: str, whole: str) -> Metric:
    """A ratio of sums."""

    def of(sides: Sequence[Side]) -> float | None:
        total = sum(side.get(whole, 0.0) for side in sides)
        return sum(side.get(part, 0.0) for side in sides) / total if total else None

    return of


def f1(right: str, answered: str, wanted: str) -> Metric:
    """Of counts summed over the cases."""

    def of(sides: Sequence[Side]) -> float | None:
        total = sum(side.get(answered, 0.0) + side.get(wanted, 0.0) for side in sides)
        return 2 * sum(side.get(right, 0.0) for side in sides) / total if total else None

    return of


def auroc(score: str, label: str) -> Metric:
    """The chance that a case of label 1 scores above one of label 0; ties count half."""

    def of(sides: Sequence[Side]) -> float | None:
        ones = np.array([s[score] for s in sides if score in s and s[label] == 1])
        zeros = np.array([s[score] for s in sides if score in s and s[label] == 0])
        if not ones.size or not zeros.size:
            return None
        above = ones[:, None] - zeros[None, :]
        return float(((above > 0) + 0.5 * (above == 0)).mean())

    return of


def _sides(metric: Metric, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for side in SIDES:
        if (value := metric([row[side] for row in rows])) is not None:
            found[side] = {"value": value, "ci": _interval(rows, _of(metric, side))}
    if "feature" in found and "plain" in found:
        found["difference"] = {
            "value": found["feature"]["value"] - found["plain"]["value"],
            "ci": _interval(rows, _difference(metric)),
        }
    return found


Figure = Callable[[Sequence[Mapping[str, Any]]], float | None]


def _of(metric: Metric, side: str) -> Figure:
    return lambda rows: metric([row[side] for row in rows])


def _difference(metric: Metric) -> Figure:
    def of(rows: Sequence[Mapping[str, Any]]) -> float | None:
        feature, plain = _of(metric, "feature")(rows), _of(metric, "plain")(rows)
        return None if feature is None or plain is None else feature - plain

    return of


def _interval(rows: Sequence[Mapping[str, Any]], figure: Figure) -> list[float]:
    draws = np.random.default_rng(0).integers(0, len(rows), (RESAMPLES, len(rows)))
    values = [figure([rows[at] for at in draw]) for draw in draws]
    low, high = np.quantile([value for value in values if value is not None], (0.025, 0.975))
    return [float(low), float(high)]
