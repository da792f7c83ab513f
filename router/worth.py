"""What a ranking of questions is worth, beside rankings that cost nothing.

Baselines stand beside every figure: prompt length alone, and a random order, which at each share
sends as many questions as the router does. The oracle knows both grades. Intervals (95%,
percentile) come from a bootstrap over groups; differences are taken within each resample.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router.deferral import DeferralCurve
from router.evaluation import LEVEL, Figure
from router.results import Results

__all__ = [
    "FIGURES",
    "SHARES",
    "Judged",
    "Rankings",
    "baselines",
    "group_rows",
    "judge_grades",
    "judge_rankings",
    "shown",
    "worth_json",
]

Floats = NDArray[np.float64]
Rankings = Mapping[str, Floats]
"""By name, shapes (questions,); higher goes to the cloud first."""

RESAMPLES = 1000
HULL_RESAMPLES = 200
"""The hull is pooled in Python, so its interval has fewer resamples."""
CHUNK = 100
SHARES: Floats = np.linspace(0, 1, 21)
FIGURES = ("apgr", "cpt50", "cpt80", "aiq")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One ranking: its curve on the rows as they are, and each figure with its resamples."""

    curve: DeferralCurve
    values: Mapping[str, float]
    resamples: Mapping[str, Floats]

    def figure(self, name: str) -> Figure:
        return _figure(self.values[name], self.resamples[name])

    def less(self, other: "Judged", name: str) -> Figure:
        """The difference of a figure, with the interval of the paired differences."""
        return _figure(
            self.values[name] - other.values[name], self.resamples[name] - other.resamples[name]
        )

    def to_json_dict(self) -> dict[str, Any]:
        return {name: shown(self.figure(name)) for name in FIGURES}


def baselines(results: Results) -> dict[str, Floats]:
    """Rankings that need no fitting, and the oracle's; higher goes to the cloud first."""
    return {
        "length": np.array([len(prompt) for prompt in results.prompts], dtype=np.float64),
        "random": np.zeros(len(results)),
        "oracle": results.gain,
    }


def judge_rankings(
    rankings: Rankings, results: Results, groups: Sequence[str], *, seed: int = 0
) -> dict[str, Judged]:
    """Every ranking on the same resamples of whole groups."""
    return judge_grades(rankings, results.weak, results.strong, groups, seed=seed)


def judge_grades(
    rankings: Rankings, device: Floats, cloud: Floats, groups: Sequence[str], *, seed: int = 0
) -> dict[str, Judged]:
    """The same from both sides' grades alone, 0 or 1."""
    draws = _Draws(groups, seed)
    return {name: _judge(scores, device, cloud, draws) for name, scores in rankings.items()}


def worth_json(judged: Mapping[str, Judged], router: str, results: Results) -> dict[str, Any]:
    """The figures of ``router`` beside its baselines, and the curves at ``SHARES``."""
    mine = judged[router]
    either = float(np.maximum(results.weak, results.strong).mean())
    best = judged["oracle"].curve.accuracy(SHARES)[0]
    held = mine.curve.accuracy(SHARES)[0]
    return {
        "questions": len(results),
        "router": router,
        **mine.to_json_dict(),
        "gain": {
            f"apgr_over_{name}": shown(mine.less(judged[name], "apgr"))
            for name in ("length", "random")
        },
        "baselines": {name: judged[name].to_json_dict() for name in ("random", "length")},
        "oracle": {**judged["oracle"].to_json_dict(), "accuracy": round(either, 4)},
        "accuracy": {
            "device": round(float(results.weak.mean()), 4),
            "cloud": round(float(results.strong.mean()), 4),
        },
        "curve": {
            "share": _listed(SHARES),
            "router": _listed(held),
            **{name: _listed(judged[name].curve.accuracy(SHARES)[0]) for name in _OTHERS},
            "regret": _listed(best - held),
            "wasted": _listed(mine.curve.wasted(SHARES)[0]),
        },
    }


def group_rows(scores: Floats, results: Results, groups: Sequence[str]) -> list[dict[str, Any]]:
    """One row a group: how good both sides are in it, and how the ranking does inside it."""
    names = np.array(groups)
    length = baselines(results)["length"]
    rows = []
    for name in sorted(set(groups)):
        mine = np.flatnonzero(names == name)
        part = results.rows(mine)
        rows.append(
            {
                "group": name,
                "questions": len(part),
                "device": round(float(part.weak.mean()), 4),
                "cloud": round(float(part.strong.mean()), 4),
                "apgr": _plain_apgr(scores[mine], part),
                "length": _plain_apgr(length[mine], part),
            }
        )
    return rows


def shown(figure: Figure) -> dict[str, Any]:
    """JSON of a figure; ``None`` where there is no gap to recover."""
    if np.isnan(figure.value):
        return {"value": None, "ci": None}
    return figure.to_json_dict()


_OTHERS = ("random", "length", "oracle")


class _Draws:
    """How often each resample drew each row, in chunks that fit in memory."""

    def __init__(self, groups: Sequence[str], seed: int) -> None:
        self._group = np.unique(np.array(groups), return_inverse=True)[1]
        self._seed = seed

    def chunks(self, resamples: int) -> Iterator[Floats]:
        """The same draws each time it is asked; each of shape (≤ CHUNK, rows)."""
        random = np.random.default_rng(self._seed)
        count = int(self._group.max()) + 1
        even = np.full(count, 1 / count)
        sizes = [min(CHUNK, resamples - done) for done in range(0, resamples, CHUNK)]
        for size in sizes:
            yield random.multinomial(count, even, size=size)[:, self._group].astype(np.float64)


def _judge(scores: Floats, device: Floats, cloud: Floats, draws: _Draws) -> Judged:
    plain = DeferralCurve.of(scores, device, cloud)
    parts = []
    for place, weights in enumerate(draws.chunks(RESAMPLES)):
        curve = DeferralCurve.of(scores, device, cloud, weights)
        parts.append(_all(curve, hull=place * CHUNK < HULL_RESAMPLES))
    return Judged(
        curve=plain,
        values={name: float(value[0]) for name, value in _all(plain, hull=True).items()},
        resamples={
            name: np.concatenate([part[name] for part in parts if name in part]) for name in FIGURES
        },
    )


def _all(curve: DeferralCurve, *, hull: bool) -> dict[str, Floats]:
    values = {"apgr": curve.apgr(), "cpt50": curve.cpt(0.5), "cpt80": curve.cpt(0.8)}
    return values | ({"aiq": curve.aiq()} if hull else {})


def _figure(value: float, resamples: Floats) -> Figure:
    if np.isnan(resamples).all():
        return Figure(value=float("nan"), low=float("nan"), high=float("nan"))
    low, high = np.nanquantile(resamples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Figure(value=value, low=float(low), high=float(high))


def _plain_apgr(scores: Floats, results: Results) -> float | None:
    value = float(DeferralCurve.of(scores, results.weak, results.strong).apgr()[0])
    return None if np.isnan(value) else round(value, 4)


def _listed(values: Floats) -> list[float]:
    return [round(float(value), 4) for value in values]
