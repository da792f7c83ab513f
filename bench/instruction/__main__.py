"""``python -m bench.instruction``: build the lessons, train, judge."""

import asyncio
import json
import random
from pathlib import Path

import click

from bench.evaluation_data import DATA
from bench.instruction.lessons import Lesson, is_judged
from bench.instruction.sets import SETS
from bench.instruction.sums import made_up_sums
from inference.catalog import Catalog, InstalledModel
from lanai.cli.output import say
from lanai.folders import Folders
from lanai.settings import Settings

SEED = 1
SUMS = 900
REQUESTS = 1100

_file = click.Path(path_type=Path, dir_okay=False)
_folder = click.Path(path_type=Path, file_okay=False)


@click.group()
@click.option("--data", type=_folder, default=DATA, help="folder of the public sets")
@click.pass_context
def main(context: click.Context, data: Path) -> None:
    """The chat adapter of Gemma-3-270M."""
    context.obj = data / "text"


@main.command()
@click.argument("out", type=_file)
@click.option("--threads", default=2, show_default=True)
@click.pass_obj
def data(folder: Path, out: Path, threads: int) -> None:
    """Write the lessons to OUT: from the sets, made-up sums, and the device model's replies."""
    lessons = [*_from_sets(folder), *made_up_sums(SUMS, SEED), *_replies(folder, threads)]
    random.Random(SEED).shuffle(lessons)  # noqa: S311  a draw anyone can repeat
    rows = [json.dumps(lesson.to_json_dict(), ensure_ascii=False) for lesson in lessons]
    out.write_text("\n".join(rows) + "\n", encoding="utf-8")
    say(f"wrote {len(rows)} lessons")


def _from_sets(folder: Path) -> list[Lesson]:
    lessons = []
    for name, (most, build) in SETS.items():
        chance = random.Random(f"{SEED} {name}")  # noqa: S311
        built = list(build(folder, chance))
        chance.shuffle(built)
        lessons += built[:most]
    return lessons


def _replies(folder: Path, threads: int) -> list[Lesson]:
    from bench.instruction.replies import device_replies, requests

    asked = [text for text in requests(folder, REQUESTS, SEED) if not is_judged(text)]
    return asyncio.run(device_replies(_model(Settings().device_model), asked, threads=threads))


def _model(name: str) -> InstalledModel:
    return Catalog(Folders.standard().models).find(name)


@main.command()
@click.argument("lessons", type=_file)
@click.argument("out", type=_folder)
@click.option("--minutes", default=60.0, show_default=True)
@click.option("--start", type=_folder, help="an adapter to go on from")
@click.option("--threads", default=2, show_default=True)
def train(lessons: Path, out: Path, minutes: float, start: Path | None, threads: int) -> None:
    """Train on LESSONS and write the adapter to OUT; the curve goes beside it."""
    _threads(threads)
    from bench.instruction.learning import learn

    log = out.with_suffix(".curve.jsonl")
    lines = lessons.read_text(encoding="utf-8").split("\n")
    model = _model("gemma-3-270m")
    trained = learn(model, lines, out, minutes=minutes, log=log, start=start)
    say(f"held-out loss {trained.before.held_out} to {trained.best.held_out}")


@main.command()
@click.argument("model")
@click.argument("marks", type=_file)
@click.option("--adapter", type=_folder)
@click.option("--limit", type=int, help="only so many questions")
@click.option("--threads", default=2, show_default=True)
@click.pass_obj
def judge(
    folder: Path, model: str, marks: Path, adapter: Path | None, limit: int | None, threads: int
) -> None:
    """Ask MODEL the judged questions and append what became of them to MARKS."""
    _threads(threads)
    from bench.instruction.judging import (
        MAX_TOKENS,
        judge,
        judged_questions,
        read_marks,
        write_mark,
    )
    from device_agent.cli.steps import step_bar

    known = read_marks(marks) if marks.exists() else {}
    drawn = [each for each in judged_questions(folder)[:limit] if each.id not in known]
    with step_bar("asking") as progress:
        path = _model(model).path
        for mark in judge(path, adapter, drawn, max_tokens=MAX_TOKENS, progress=progress):
            write_mark(marks, mark)


@main.command()
@click.argument("device", type=_file)
@click.argument("before", type=_file)
@click.argument("after", type=_file)
def table(device: Path, before: Path, after: Path) -> None:
    """Print JSON: what three files of marks come to."""
    from bench.instruction.judging import table

    click.echo(json.dumps(table(device, before, after), indent=1))


def _threads(count: int) -> None:
    """Before torch is imported."""
    from inference.openmp import set_openmp_here

    set_openmp_here(count)
    import torch

    torch.set_num_threads(count)


if __name__ == "__main__":
    main()
