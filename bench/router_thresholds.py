"""Measures the default pair of models and fits the router's estimator to it.

    python bench/router_thresholds.py ask --raw raw.jsonl       # both models answer, numbers only
    python bench/router_thresholds.py fit --raw raw.jsonl       # figures, then the estimator file

Set up before: ``lanai models pull`` for both models. About 600 questions; ids and numbers are kept,
no text. ``fit`` needs no model and takes a minute.
"""

import asyncio
import datetime
import json
import os
from pathlib import Path

import click
import router_report
from question_sets import group_of, load
from router_answers import Asked, ask_all

from inference.catalog import Catalog
from lanai.folders import Folders
from router import LogisticEstimator, MeasuredModel, MeasuredPair, Policy

REPOSITORY = Path(__file__).resolve().parent.parent
COUNTS = {
    "triviaqa": 260,
    "arc_easy": 100,
    "openbook_qa": 60,
    "boolq": 100,
    "svamp": 80,
}
SEED = 1
DEVICE_NAMES = ("smollm2-135m-instruct", "smollm2-135m-instruct-source")
CLOUD_NAMES = ("gemma-3-270m",)

raw_option = click.option("--raw", type=click.Path(path_type=Path), required=True)
data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True),
    default=Path(os.environ.get("LANAI_DATA", REPOSITORY.parent / "shared" / "data")),
    help="folder of the evaluation data",
)


@click.group()
def main() -> None:
    """Measure the routing thresholds of a pair of models."""


@main.command()
@raw_option
@data_option
@click.option("--device", default=DEVICE_NAMES[1], show_default=True)
@click.option("--cloud", default=CLOUD_NAMES[0], show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--max-tokens", default=40, show_default=True)
@click.option("--budget-s", default=900.0, show_default=True)
def ask(
    raw: Path, data: Path, device: str, cloud: str, threads: int, max_tokens: int, budget_s: float
) -> None:
    """Ask both models; appends to RAW and goes on where it stopped."""
    asyncio.run(_ask(raw, data, device, cloud, threads, max_tokens, budget_s))


async def _ask(
    raw: Path, data: Path, device: str, cloud: str, threads: int, max_tokens: int, budget_s: float
) -> None:
    catalog = Catalog(Folders.standard().models)
    here, there = catalog.find(device), catalog.find(cloud)
    models = {"device": here.sha256, "cloud": there.sha256, "max_tokens": max_tokens}
    raw.with_suffix(".models.json").write_text(json.dumps(models))
    device_side = await Asked.load(here.path, threads=threads)
    try:
        cloud_side = await Asked.load(there.path, threads=threads)
        try:
            questions = load(data / "text", COUNTS, seed=SEED)
            await ask_all(
                device_side,
                cloud_side,
                questions,
                raw,
                max_tokens=max_tokens,
                budget_s=budget_s,
            )
        finally:
            await cloud_side.engine.close()
    finally:
        await device_side.engine.close()


@main.command()
@raw_option
@data_option
@click.option("--out", type=click.Path(path_type=Path), help="write the estimator here")
def fit(raw: Path, data: Path, out: Path | None) -> None:
    """Print every figure; with --out, write the estimator file."""
    rows = [json.loads(line) for line in raw.read_text(encoding="utf-8").splitlines()]
    groups = group_of(load(data / "text", COUNTS, seed=SEED))
    measured = router_report.Measured(rows, [groups[row["id"]] for row in rows])
    found = router_report.figures(measured, Policy.load().escalate_above_benefit)
    click.echo(json.dumps(found, indent=1))
    if out is not None:
        models = json.loads(raw.with_suffix(".models.json").read_text())
        provenance = {
            "date": datetime.date.today().isoformat(),
            "bench": "bench/router_thresholds.py",
            "seed": SEED,
            "max_tokens": models["max_tokens"],
        }
        estimator = router_report.estimator_of(measured, _pair(models), found, provenance)
        text = json.dumps(estimator.to_json_dict(), indent=1) + "\n"
        LogisticEstimator.parse(text)
        out.write_text(text, encoding="utf-8")


def _pair(models: dict[str, str]) -> MeasuredPair:
    return MeasuredPair(
        device=MeasuredModel(names=DEVICE_NAMES, weights_sha256=models["device"]),
        cloud=MeasuredModel(names=CLOUD_NAMES, weights_sha256=models["cloud"]),
    )


if __name__ == "__main__":
    main()
