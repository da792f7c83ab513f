"""``lanai route calibrate``: a threshold, and how much regret it can cost at most."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from device_agent.cli.route_data import given_results, results_options
from lanai.cli.output import emit_json, json_option, say
from lanai.errors import RouteError

if TYPE_CHECKING:
    from router.calibration import Calibrated
    from router.guarantee import KeepBound

__all__ = ["calibrate"]


@click.command()
@results_options
@click.option("--alpha", default=0.05, show_default=True, help="regret per request, at most")
@click.option("--delta", default=0.1, show_default=True, help="chance that the bound fails")
@click.option(
    "--requests", type=click.IntRange(min=1), help="hold over the next N too [default: as DATA has]"
)
@json_option
def calibrate(
    data: Path,
    train: Path | None,
    group: str | None,
    exclude: Path | None,
    alpha: float,
    delta: float,
    requests: int | None,
    as_json: bool,
) -> None:
    """Find the threshold that keeps most on the device with regret under --alpha.

    Regret: kept on the device, wrong there, right in the cloud. It is bounded with confidence
    1 − --delta; where DATA cannot give a bound, none is claimed (exit 1). With --group, each
    subject has a bound too, where its rows allow one.
    """
    from router.calibration import calibrated

    found = calibrated(
        given_results(data, exclude),
        None if train is None else given_results(train, exclude),
        by_subject=group is not None,
        alpha=alpha,
        delta=delta,
        ahead=requests,
    )
    if as_json:
        emit_json(_document(found))
    else:
        _say(found)


def _document(found: "Calibrated") -> dict[str, Any]:
    document = {**found.bound.to_json_dict(), "score": found.score}
    if found.score == "text":
        # The same rule in the policy's words.
        document["escalate_above_benefit"] = -found.bound.threshold
    if found.each:
        document["categories"] = {name: _each(one) for name, one in found.each.items()}
    return document


def _each(found: "KeepBound | RouteError") -> dict[str, Any]:
    return {"refused": found.message} if isinstance(found, RouteError) else found.to_json_dict()


def _say(found: "Calibrated") -> None:
    bound = found.bound
    rule = "P(device good) − P(cloud good)" if found.score == "text" else "confidence"
    click.echo(f"keep on the device where {rule} is at least {bound.threshold:.4f}")
    click.echo(f"kept {bound.kept:.1%} of {bound.questions} questions, {bound.losses} regretted")
    click.echo(
        f"regret at most {bound.regret_bound:.4f}, in the long run and over the next"
        f" {bound.ahead}, with confidence {1 - bound.delta:g}"
    )
    for name, one in found.each.items():
        if isinstance(one, RouteError):
            say(f"{name}: no bound claimed: {one.message}")
        else:
            click.echo(f"{name:<32} threshold {one.threshold:.4f}  kept {one.kept:.1%}")
