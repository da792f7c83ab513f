"""``lanai route eval``: what a router is worth on two models' graded answers."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from device_agent.cli.route_data import given_results, results_options
from device_agent.cli.steps import step_bar
from lanai.cli.output import emit_json, json_option, say
from lanai.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from router.results import Results

__all__ = ["evaluate"]


@click.command("eval")
@results_options
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="draw the curves, FILE.png"
)
@json_option
def evaluate(
    data: Path,
    train: Path | None,
    group: str | None,
    exclude: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Judge a router by DATA: rows id,subject,prompt,weak_correct,strong_correct[,confidence].

    A text-only estimator is fitted to --train, or to the other folds of DATA. A column confidence
    without --train is judged as it is.
    """
    if plot is not None:
        _plotting()
    test = given_results(data, exclude)
    trained = None if train is None else given_results(train, exclude)
    document, scores = _judged(test, trained, group)
    if group is not None:
        from router.worth import group_rows

        document["groups"] = group_rows(scores, test, test.groups(group))
    if plot is not None:
        from device_agent.cli.route_plot import draw

        draw(document, plot)
        say(f"wrote {plot}")
    if as_json:
        emit_json(document)
    else:
        _table(document)


def _judged(
    test: "Results", train: "Results | None", group: str | None
) -> "tuple[dict[str, Any], NDArray[np.float64]]":
    """1. Score. 2. Judge every ranking on the same resamples. 3. Put it beside its baselines."""
    from router.comparison import score_by_text
    from router.worth import baselines, judge_rankings, worth_json

    with step_bar("fitting") as progress:
        scored = score_by_text(test, train, group, progress)
    rankings = {"text": scored.scores}
    if test.confidence is not None:
        rankings["confidence"] = -test.confidence
    router = "confidence" if test.confidence is not None and train is None else "text"
    judged = judge_rankings(rankings | baselines(test), test, test.groups(group))
    document = worth_json(judged, router, test)
    document["routers"] = {name: judged[name].to_json_dict() for name in rankings}
    document["split"] = {
        "by": scored.split,
        "labels": scored.labels,
        "copies_dropped": scored.dropped,
        "groups_in_both": scored.groups_in_both,
    }
    return document, rankings[router]


def _plotting() -> None:
    """Raises ``UsageError`` where the picture could not be drawn after minutes of work."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError(
            "drawing needs matplotlib", hint="pip install 'lanai[plots]', or leave --plot out"
        ) from None


def _table(document: dict[str, Any]) -> None:
    """Within 80 columns."""
    rankings = {
        document["router"]: document,
        "length": document["baselines"]["length"],
        "random": document["baselines"]["random"],
        "oracle": document["oracle"],
    }
    figures = {"apgr": "APGR", "cpt50": "CPT(50)", "cpt80": "CPT(80)", "aiq": "AIQ"}
    click.echo(f"{'by':<7}" + "".join(f"{name:>18}" for name in rankings))
    for key, name in figures.items():
        cells = (_cell(ranking[key]) for ranking in rankings.values())
        click.echo(f"{name:<7}" + "".join(f"{cell:>18}" for cell in cells))
    accuracy, gain = document["accuracy"], document["gain"]
    click.echo(
        f"{document['questions']} questions; device {accuracy['device']:.3f}, cloud "
        f"{accuracy['cloud']:.3f}, either {document['oracle']['accuracy']:.3f}"
    )
    click.echo(f"APGR over length {_cell(gain['apgr_over_length'])}")
    _group_table(document.get("groups", ()))


def _group_table(rows: "Sequence[Mapping[str, Any]]") -> None:
    if rows:
        click.echo(f"{'':<38} {'n':>5} {'device':>7} {'cloud':>7} {'APGR':>8} {'length':>8}")
    for row in rows:
        click.echo(
            f"{row['group'][:38]:<38} {row['questions']:>5} {row['device']:>7.3f} "
            f"{row['cloud']:>7.3f} {_plain(row['apgr']):>8} {_plain(row['length']):>8}"
        )


def _cell(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "no gap"
    low, high = figure["ci"]
    return f"{_short(figure['value'])} [{_short(low)} {_short(high)}]"


def _short(value: float) -> str:
    """Three decimals; no zero before the point."""
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.2f}"


def _plain(value: float | None) -> str:
    return "no gap" if value is None else f"{value:.3f}"
