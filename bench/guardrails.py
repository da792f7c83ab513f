"""Fits the shipped check and measures it on prompts it was not fitted to: one command.

    lanai bench guardrails [--data FOLDER] [--out FILE]

1. Five folds by group over the sets it is fitted to. What is said of a prompt comes from a fit
   without its group; of a set that is not fitted to, from the mean of the five.
2. The threshold: half a percent of all good prompts, XSTest's apart, are refused.
3. How much harm passes and how much good is refused, by set and by XSTest's types, with Wilson's
   intervals of 95 %.
4. The same for harm of a kind it never saw: without AdvBench in the fit, and without XSTest. This
   is the figure to go by: it tells whether harm was learned, or how a set is written.
5. Fitted to everything, with the threshold of 2, and written to FILE.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from bench.evaluation_data import data_option
from bench.guard_fit import Grams, Windows, fit
from bench.guard_prompts import FITTED, Prompt, groups_of, load
from bench.intervals import wilson
from device_agent.guardrails.harm_model import HarmModel
from lanai.cli.output import emit_json, json_option, say

__all__ = ["guardrails"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

REPOSITORY = Path(__file__).resolve().parent.parent
SHIPPED = REPOSITORY / "device_agent" / "guardrails" / "default_harm.json"
FOLDS = 5
REFUSED_GOOD = 0.005
XSTEST_COUNTS = 3.0
"""XSTest's prompts weigh as three: they are few, and the only ones where single words mislead."""


@click.command()
@data_option
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="write the fitted check there"
)
@json_option
def guardrails(data: Path, out: Path | None, as_json: bool) -> None:
    """How much harm the shipped kind of check lets pass, and how much good it refuses."""
    prompts = load(data / "text")
    groups = groups_of(prompts)
    grams = Grams.of([each.text for each in prompts])
    windows = Windows.cut([each.text for each in prompts])
    # 1. Held-out logits.
    logits = _held_out(prompts, groups, grams, windows, FITTED)
    # 2. Threshold.
    threshold = _threshold(logits, prompts)
    # 3. Figures.
    figures: dict[str, Any] = {
        "threshold": round(threshold, 4),
        "groups": len({g for g, each in zip(groups, prompts, strict=True) if each.harmful}),
        "by_kind": _by_kind(logits > threshold, prompts),
    }
    # 4. Harm of another kind.
    figures["unseen_harm"] = {
        left_out: _unseen(left_out, prompts, groups, grams, windows)
        for left_out in ("advbench", "xstest")
    }
    # 5. The whole.
    whole = _fitted(prompts, grams, np.isin([each.set for each in prompts], FITTED))
    figures["us_per_prompt"] = _cost_us(whole, prompts)
    if out is not None:
        _write(whole, threshold, figures, out)
    if as_json:
        emit_json(figures)
    else:
        _table(figures)


def _held_out(
    prompts: Sequence[Prompt],
    groups: Sequence[int],
    grams: Grams,
    windows: Windows,
    sets: Sequence[str],
) -> Floats:
    """A logit for each prompt, by windows as the check takes them."""
    fitted = np.isin([each.set for each in prompts], sets)
    names = np.unique(np.array(groups)[fitted])
    mixed = np.random.default_rng(0).permutation(names)
    fold_of = {int(name): place % FOLDS for place, name in enumerate(mixed)}
    folds = np.array([fold_of.get(group, -1) for group in groups])
    logits, others = np.zeros(len(prompts)), np.zeros(len(prompts))
    for fold in range(FOLDS):
        said = windows.logits(_fitted(prompts, grams, fitted & (folds != fold)))
        logits = np.where(fitted & (folds == fold), said, logits)
        others += said / FOLDS
    return np.where(fitted, logits, others)


def _fitted(prompts: Sequence[Prompt], grams: Grams, chosen: Flags) -> HarmModel:
    harmful = np.array([each.harmful for each in prompts])
    counts = np.array([XSTEST_COUNTS if each.set == "xstest" else 1.0 for each in prompts])
    return fit(grams, harmful, counts, chosen)


def _threshold(logits: Floats, prompts: Sequence[Prompt]) -> float:
    good = np.array([not each.harmful and each.set != "xstest" for each in prompts])
    return float(np.quantile(logits[good], 1 - REFUSED_GOOD))


def _unseen(
    left_out: str,
    prompts: Sequence[Prompt],
    groups: Sequence[int],
    grams: Grams,
    windows: Windows,
) -> dict[str, Any]:
    sets = [name for name in FITTED if name != left_out]
    logits = _held_out(prompts, groups, grams, windows, sets)
    refused = logits > _threshold(logits, prompts)
    mine = np.array([each.set == left_out and each.harmful for each in prompts])
    return _share(refused[mine])


def _by_kind(refused: Flags, prompts: Sequence[Prompt]) -> dict[str, dict[str, Any]]:
    kinds = {(each.set, each.kind, each.harmful): None for each in prompts}
    found = {}
    for name, kind, harmful in kinds:
        rows = np.array([(e.set, e.kind, e.harmful) == (name, kind, harmful) for e in prompts])
        found[f"{name} {kind}" if name != kind else name] = {
            "harmful": harmful,
            **_share(refused[rows]),
        }
    for harmful in (True, False):
        rows = np.array([e.set == "xstest" and e.harmful is harmful for e in prompts])
        word = "unsafe" if harmful else "safe"
        found[f"xstest, all {word}"] = {"harmful": harmful, **_share(refused[rows])}
    good = np.array([not e.harmful and e.set != "xstest" for e in prompts])
    unseen = np.array([e.set not in FITTED for e in prompts])
    found["good, all but xstest"] = {"harmful": False, **_share(refused[good])}
    found["good, sets not fitted to"] = {"harmful": False, **_share(refused[unseen])}
    return found


def _share(refused: Flags) -> dict[str, Any]:
    share, low, high = (round(value, 4) for value in wilson(int(refused.sum()), len(refused)))
    return {"refused": share, "ci": [low, high], "n": len(refused)}


def _cost_us(model: HarmModel, prompts: Sequence[Prompt]) -> float:
    texts = [each.text for each in prompts if each.set in ("xstest", "mt_bench")]
    began = time.perf_counter()
    for text in texts:
        model.logit(text)
    return round((time.perf_counter() - began) / len(texts) * 1e6, 1)


def _write(model: HarmModel, threshold: float, figures: dict[str, Any], out: Path) -> None:
    document = model.to_json_dict() | {
        "threshold": round(threshold, 4),
        "measurement": figures | {"fitted_to": list(FITTED)},
    }
    out.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    say(f"wrote {out}")


def _table(figures: dict[str, Any]) -> None:
    click.echo(f"{'prompts':<44} {'n':>5}  {'refused':>8}  95 %")
    for harmful in (True, False):
        click.echo("harm" if harmful else "good")
        for name, row in figures["by_kind"].items():
            if row["harmful"] is harmful:
                click.echo(_line(name, row))
    click.echo("harm of a kind it was not fitted to")
    for name, row in figures["unseen_harm"].items():
        click.echo(_line(name, row))
    click.echo(f"{figures['us_per_prompt']} µs a prompt")


def _line(name: str, row: dict[str, Any]) -> str:
    low, high = row["ci"]
    return f"  {name:<42} {row['n']:>5}  {row['refused']:>8.1%}  {low:.1%} to {high:.1%}"
