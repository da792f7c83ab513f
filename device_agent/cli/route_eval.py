"""``lanai route eval``: what a router is worth on two models' graded answers."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from device_agent.cli.route_data import given_results, results_options
from device_agent.cli.steps import step_bar
from lanai.cli.output import emit_json, json_option, say
from lanai.errors import UsageError

if TYPE_CHECKING:
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
    rows = {
        f"router ({document['router']})": document,
        "length": document["baselines"]["length"],
        "random": document["baselines"]["random"],
        "oracle": document["oracle"],
    }
    click.echo(f"{'':<20} {'APGR':>22} {'CPT(50)':>22} {'CPT(80)':>22} {'AIQ':>22}")
    for name, row in rows.items():
        cells = "".join(f" {_cell(row[key]):>22}" for key in ("apgr", "cpt50", "cpt80", "aiq"))
        click.echo(f"{name:<20}{cells}")
    accuracy, gain = document["accuracy"], document["gain"]
    click.echo(
        f"{document['questions']} questions; device {accuracy['device']:.3f}, cloud "
        f"{accuracy['cloud']:.3f}, either {document['oracle']['accuracy']:.3f}; "
        f"APGR over length {_cell(gain['apgr_over_length'])}"
    )
    for row in document.get("groups", ()):
        click.echo(
            f"{row['group']:<32} {row['questions']:>6}  device {row['device']:.3f}  "
            f"cloud {row['cloud']:.3f}  APGR {_plain(row['apgr'])}  length {_plain(row['length'])}"
        )


def _cell(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "no gap"
    low, high = figure["ci"]
    return f"{figure['value']:.3f} [{low:.3f}, {high:.3f}]"


def _plain(value: float | None) -> str:
    return "no gap" if value is None else f"{value:.3f}"
