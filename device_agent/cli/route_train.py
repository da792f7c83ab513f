"""``lanai route train``: fit an estimator to one's own pair of models and questions."""

import asyncio
import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from device_agent.cli.steps import step_bar
from lanai.cli.output import emit_json, json_option, say
from lanai.errors import UsageError
from lanai.folders import Folders

if TYPE_CHECKING:
    from device_agent.grading import Question
    from inference.catalog import InstalledModel
    from router.training import Labelled

__all__ = ["train"]

CONTEXT_TOKENS = 2048
DEVICE, CLOUD = "smollm2-135m-instruct", "gemma-3-270m"


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="questions, JSONL: prompt, answer, grader[, category, group]",
)
@click.option("--device", default=DEVICE, show_default=True, help="model that runs on the device")
@click.option("--cloud", default=CLOUD, show_default=True, help="model that runs in the cloud")
@click.option("--grader", metavar="MODULE:FUNCTION", help="a grader of your own, for every row")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="write the estimator, FILE.json"
)
@click.option("--max-tokens", default=64, show_default=True)
@click.option("--threads", default=2, show_default=True)
@json_option
def train(
    data: Path,
    device: str,
    cloud: str,
    grader: str | None,
    out: Path | None,
    max_tokens: int,
    threads: int,
    as_json: bool,
) -> None:
    """Ask both models each question of DATA here, grade the answers, fit the estimator.

    Prints what each signal is worth on held-out questions. The file that --out writes holds numbers
    and the hashes of both models; the router refuses it for any other pair.
    """
    from device_agent.grading import own_grader, read_questions
    from device_agent.measured import measured
    from inference.catalog import Catalog
    from router import LogisticEstimator, MeasuredPair, Policy
    from router.training import train as fit

    questions = read_questions(data, own_grader(grader) if grader else None)
    catalog = Catalog(Folders.standard().models)
    here, there = catalog.find(device), catalog.find(cloud)
    labelled = asyncio.run(_label(here, there, questions, max_tokens, threads))
    with step_bar("fitting") as progress:
        estimator, figures = fit(
            labelled,
            MeasuredPair(device=measured(here), cloud=measured(there)),
            quantization=f"{here.format} {here.bits_per_weight:.2f} bits",
            price=Policy.load().escalate_above_benefit,
            provenance={"date": datetime.date.today().isoformat(), "max_tokens": max_tokens},
            progress=progress,
        )
    if out is not None:
        text = json.dumps(estimator.to_json_dict(), allow_nan=False) + "\n"
        LogisticEstimator.parse(text)
        _write(out, text)
        say(f"wrote {out}")
    if as_json:
        emit_json(figures)
    else:
        _table(figures)


async def _label(
    here: "InstalledModel",
    there: "InstalledModel",
    questions: "list[Question]",
    max_tokens: int,
    threads: int,
) -> "Labelled":
    from device_agent.labelling import Asked, label
    from inference.process import ProcessEngine
    from inference.text import load_text_model

    asked = list[Asked]()
    try:
        for model in (here, there):
            text = load_text_model(model.path)
            engine = await ProcessEngine.start(
                model.path,
                context_tokens=CONTEXT_TOKENS,
                threads=threads,
                weights_sha256=model.sha256,
            )
            asked.append(Asked(engine=engine, text=text))
        with step_bar("asking") as progress:
            return await label(
                asked[0], asked[1], questions, max_tokens=max_tokens, progress=progress
            )
    finally:
        for each in asked:
            await each.engine.close()


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def _table(figures: dict[str, Any]) -> None:
    accuracy = figures["accuracy"]
    click.echo(
        f"{figures['labels']} questions; device {accuracy['device']:.3f}, cloud "
        f"{accuracy['cloud']:.3f}, either {accuracy['oracle']:.3f}"
    )
    click.echo(f"{'held-out AUROC':<24} {'device good':>12} {'cloud good':>12} {'pick':>8}")
    for name, row in {"kept": figures["auroc"], **figures["ablation"]}.items():
        cells = (row["device_good"], row["cloud_good"], row["pick"])
        click.echo(f"{name:<24} {_cell(cells[0]):>12} {_cell(cells[1]):>12} {_cell(cells[2]):>8}")
    told = "escalates by these signals" if figures["predictive"] else "stays on the device"
    click.echo(f"predictive: {figures['predictive']}; in auto mode the router {told}")


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
