"""Measures the default pair of models and refits the estimator that is shipped: one command.

    lanai bench estimator [--raw FILE] [--data FOLDER] [--out FILE]

1. Ask both models some hundred public questions. Ids and numbers go to RAW, no text; a run that was
   stopped goes on where it ended, and a RAW of other weights is refused.
2. Fit as ``lanai route train`` does, and write the estimator with the hashes of both models.

Run it after the default device model was packed anew; until then a test fails by the stale hash.
"""

import asyncio
import datetime
import json
from pathlib import Path
from typing import Any

import click

from bench.evaluation_data import data_option
from bench.question_sets import Drawn, load
from device_agent.cli.steps import step_bar
from device_agent.labelling import Asked, Label, label_one, labelled_of
from device_agent.measured import measured
from inference.catalog import Catalog, InstalledModel
from inference.catalog.entries import load_entries
from inference.process import ProcessEngine
from inference.text import load_text_model
from lanai.cli.output import emit_json, json_option, say
from lanai.errors import UsageError
from lanai.folders import Folders
from lanai.settings import Settings
from router import LogisticEstimator, MeasuredModel, MeasuredPair, Policy
from router.training import train

__all__ = ["estimator"]

REPOSITORY = Path(__file__).resolve().parent.parent
SHIPPED = REPOSITORY / "router" / "default_estimator.json"
COUNTS = {"triviaqa": 260, "arc_easy": 100, "openbook_qa": 60, "boolq": 100, "svamp": 80}
SEED = 1
MAX_TOKENS = 40
CONTEXT_TOKENS = 2048


@click.command()
@click.option(
    "--raw",
    type=click.Path(path_type=Path, dir_okay=False),
    help="labels so far, JSONL [default: in the state folder]",
)
@data_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=SHIPPED)
@click.option("--threads", default=2, show_default=True)
@click.option("--budget-s", default=7200.0, show_default=True, help="stop asking after this long")
@json_option
def estimator(
    raw: Path | None, data: Path, out: Path, threads: int, budget_s: float, as_json: bool
) -> None:
    """Ask the default pair, grade, fit, and write the estimator that Lanai ships."""
    folders, settings = Folders.standard(), Settings()
    catalog = Catalog(folders.models)
    here, there = catalog.find(settings.device_model), catalog.find(settings.cloud_model)
    raw = raw or folders.state / "route-labels.jsonl"
    drawn = load(data / "text", COUNTS, seed=SEED)
    known = _known(raw, _header(here, there))
    # 1. Ask.
    asyncio.run(_ask(here, there, drawn, raw, known, threads, budget_s))
    # 2. Fit.
    kept = [each for each in drawn if each.id in known]
    with step_bar("fitting") as progress:
        fitted, figures = train(
            labelled_of([known[each.id] for each in kept], [each.question for each in kept]),
            MeasuredPair(device=_measured(here), cloud=_measured(there)),
            quantization=f"{here.format} {here.bits_per_weight:.2f} bits",
            price=Policy.load().escalate_above_benefit,
            provenance={
                "date": datetime.date.today().isoformat(),
                "command": "lanai bench estimator",
                "seed": SEED,
                "max_tokens": MAX_TOKENS,
                "sets": sorted(COUNTS),
            },
            progress=progress,
        )
    text = json.dumps(fitted.to_json_dict(), allow_nan=False) + "\n"
    LogisticEstimator.parse(text)
    out.write_text(text, encoding="utf-8")
    say(f"wrote {out}")
    if as_json:
        emit_json(figures)


def _measured(model: InstalledModel) -> MeasuredModel:
    """By every catalog name of these weights."""
    names = [name for name, entry in load_entries().items() if entry.sha256 == model.sha256]
    return measured(model, *names)


def _header(here: InstalledModel, there: InstalledModel) -> dict[str, Any]:
    return {
        "device": here.sha256,
        "cloud": there.sha256,
        "max_tokens": MAX_TOKENS,
        "seed": SEED,
    }


def _known(raw: Path, header: dict[str, Any]) -> dict[str, Label]:
    """Labels by question id. Raises ``UsageError`` for labels of other weights."""
    if not raw.exists():
        raw.parent.mkdir(parents=True, exist_ok=True)
        raw.write_text(json.dumps(header) + "\n", encoding="utf-8")
    first, *lines = raw.read_text(encoding="utf-8").splitlines()
    if json.loads(first) != header:
        raise UsageError(f"{raw} holds labels of other weights", hint="name another file by --raw")
    rows = [json.loads(line) for line in lines]
    return {row["id"]: Label.read(row) for row in rows}


async def _ask(
    here: InstalledModel,
    there: InstalledModel,
    drawn: list[Drawn],
    raw: Path,
    known: dict[str, Label],
    threads: int,
    budget_s: float,
) -> None:
    """Append a line for each question not known yet, until the budget is spent."""
    missing = [each for each in drawn if each.id not in known]
    if not missing:
        return
    asked = list[Asked]()
    try:
        for model in (here, there):
            asked.append(await _load(model, threads))
        with step_bar("asking") as progress, raw.open("a", encoding="utf-8") as file:
            async with asyncio.timeout(budget_s):
                for done, each in enumerate(missing):
                    progress(done, len(missing))
                    label = await label_one(
                        asked[0], asked[1], each.question, max_tokens=MAX_TOKENS
                    )
                    file.write(json.dumps({"id": each.id, **label.to_json_dict()}) + "\n")
                    file.flush()
                    known[each.id] = label
    except TimeoutError:
        say(f"budget of {budget_s:g} s spent; {len(known)} of {len(drawn)} questions asked")
    finally:
        for one in asked:
            await one.engine.close()


async def _load(model: InstalledModel, threads: int) -> Asked:
    engine = await ProcessEngine.start(
        model.path,
        context_tokens=CONTEXT_TOKENS,
        threads=threads,
        weights_sha256=model.sha256,
    )
    return Asked(engine=engine, text=load_text_model(model.path))
