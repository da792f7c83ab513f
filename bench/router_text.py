"""What a text-only router reaches on RouteLLM's graded answers, beside prompt length.

    python bench/router_text.py [--draws 3] [--data FOLDER]

Prints JSON. For each draw: 1,500 labels of MMLU at random and all other rows judged; half of the
subjects learned from and the other half judged. ``learning_curve``: mean APGR on 2,000 rows by the
number of labels. ``ceilings``: what knowing more than the text would give (``router_ceilings``).
``regret`` repeats the bound of ``lanai route calibrate`` over 300 random halves, beside conformal
risk control.
"""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from bench.evaluation_data import data_option
from bench.router_ceilings import ceilings, tells_wins
from router.comparison import score_by_text
from router.deferral import DeferralCurve
from router.guarantee import allowed_losses, conformal_losses, keep_most
from router.results import Results, read_ids, read_results
from router.text_estimator import TextEstimator
from router.text_features import Texts
from router.worth import baselines, judge_rankings, shown

LABELS = {"mmlu": 1500, "gsm8k": 250}
SPLITS, DELTA = 300, 0.1
CURVE, JUDGED = (375, 750, 1500, 3000, 5500), 2000


@click.command()
@click.option("--draws", default=3, show_default=True)
@data_option
def main(draws: int, data: Path) -> None:
    """Judge, and print every figure with its interval."""
    listed = read_ids(data / "routing" / "routellm_contaminated_ids.csv")
    sets = {
        name: read_results(data / "routing" / f"routellm_{name}.csv").without_ids(listed)
        for name in LABELS
    }
    mmlu = sets["mmlu"]
    result = {
        "mmlu_1500_labels": [_judged(*_drawn(mmlu, LABELS["mmlu"], seed)) for seed in range(draws)],
        "mmlu_subjects_left_out": [_judged(*_by_subject(mmlu, seed)) for seed in range(draws)],
        "learning_curve": {labels: _learned(mmlu, labels, draws) for labels in CURVE},
        "ceilings": {name: ceilings(sets[name], LABELS[name]) for name in sets},
        "regret": [
            _regret(name, sets[name], alpha) for name in sets for alpha in (0.02, 0.05, 0.1)
        ],
    }
    click.echo(json.dumps(result, indent=1))


def _drawn(results: Results, labels: int, seed: int) -> tuple[Results, Results]:
    mixed = np.random.default_rng(seed).permutation(len(results))
    return results.rows(mixed[:labels]), results.rows(mixed[labels:])


def _by_subject(results: Results, seed: int) -> tuple[Results, Results]:
    names = np.random.default_rng(seed).permutation(sorted(set(results.subjects)))
    away = np.isin(results.subjects, names[: len(names) // 2])
    return results.rows(np.flatnonzero(~away)), results.rows(np.flatnonzero(away))


def _judged(train: Results, test: Results) -> dict[str, Any]:
    scored = score_by_text(test, train, None, lambda done, total: None)
    rankings = {"text": scored.scores, "length": baselines(test)["length"]}
    judged = judge_rankings(rankings, test, test.groups(None))
    return {
        "labels": scored.labels,
        "questions": len(test),
        "tells_wins": round(tells_wins(scored.scores, test), 4),
        **{name: shown(judged[name].figure("apgr")) for name in rankings},
        "over_length": shown(judged["text"].less(judged["length"], "apgr")),
    }


def _learned(results: Results, labels: int, draws: int) -> float:
    """Mean APGR where more labels are drawn, and always as many other rows judged."""
    found = []
    for seed in range(draws):
        mixed = np.random.default_rng(seed).permutation(len(results))
        test = results.rows(mixed[-JUDGED:])
        scored = score_by_text(test, results.rows(mixed[:labels]), None, lambda done, total: None)
        found.append(DeferralCurve.of(scored.scores, test.weak, test.strong).apgr()[0])
    return round(float(np.mean(found)), 4)


def _regret(name: str, results: Results, alpha: float) -> dict[str, Any]:
    train, rest = _drawn(results, LABELS[name], 0)
    train = train.without_prompts(rest)
    estimator = TextEstimator.fit(Texts.of(train.prompts), train.weak, train.strong)
    confidence, regret = -estimator.benefit(Texts.of(rest.prompts)), rest.gain > 0
    half = len(rest) // 2
    allowed = {
        "bound": allowed_losses(half, len(rest) - half, alpha=alpha, delta=DELTA),
        "conformal": conformal_losses(half, alpha=alpha),
    }
    found: dict[str, Any] = {"set": name, "alpha": alpha, "delta": DELTA, "calibrated_on": half}
    for rule, losses in allowed.items():
        if losses is None or losses < 0:
            found[rule] = "refused"
            continue
        found[rule] = _splits(confidence, regret, losses, alpha)
    return found


def _splits(confidence: Any, regret: Any, losses: int, alpha: float) -> dict[str, float]:
    half, over, kept = len(regret) // 2, 0, 0.0
    for seed in range(SPLITS):
        mixed = np.random.default_rng(seed).permutation(len(regret))
        mine, rest = mixed[:half], mixed[half:]
        threshold = keep_most(confidence[mine], regret[mine], losses)
        stays = confidence[rest] >= (np.inf if threshold is None else threshold)
        over += bool((stays & regret[rest]).mean() > alpha)
        kept += float(stays.mean())
    return {"exceeded": round(over / SPLITS, 4), "kept": round(kept / SPLITS, 4)}


if __name__ == "__main__":
    main()
