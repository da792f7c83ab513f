"""``lanai bench scores``: how well models answer, beside what is published of small models.

1. For each model and each number of examples: every task's questions, the same for all models.
2. Accuracy by length-normalized log-likelihood as in ``lanai models score``, 95% by Wilson.
3. Packed models against their source, question by question.
4. One table, with the figures of ``published_scores``.

ARC is the mean of its two parts, as SmolLM2's model card has it.
"""

import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bench.evaluation_data import data_option
from bench.intervals import wilson
from bench.published_scores import PUBLISHED
from inference import scoring
from inference.catalog import Catalog, InstalledModel
from inference.openmp import set_openmp_here
from inference.text import load_text_model
from lanai.cli.output import emit_json, json_option, say
from lanai.errors import UsageError
from lanai.folders import Folders
from lanai.settings import Settings

if TYPE_CHECKING:
    from inference.decoder import LanguageModel

__all__ = ["scores", "table"]

TASKS: Final = (
    "hellaswag",
    "arc_challenge",
    "arc_easy",
    "piqa",
    "boolq",
    "openbook_qa",
    "winogrande",
)
HEADS: Final = ("HellaSwag", "ARC-c", "ARC-e", "ARC", "PIQA", "BoolQ", "OBQA", "WinoGrande", "all")
COLUMNS: Final = (*TASKS[:3], "arc", *TASKS[3:], "all")
Questions = Sequence[tuple[list[scoring.Choice], int]]


@dataclass(slots=True, kw_only=True)
class Row:
    """Answers of one model with one number of examples: ``right`` by task, in file order."""

    role: str
    name: str
    bits: float
    shots: int
    seconds: float = 0.0
    right: dict[str, tuple[bool, ...]] = field(default_factory=dict)


@click.command()
@click.option(
    "--source",
    default="smollm2-135m-instruct-source",
    show_default=True,
    help="what the packed models were packed from",
)
@click.option("--small", help="the model packed at 3.5 bits, a name or folder; default: none")
@click.option("--quality", help="the model packed at 4.25 bits, a name or folder; default: none")
@click.option("--cloud", default="gemma-3-270m", show_default=True, help="the cloud model")
@click.option(
    "--step",
    "steps",
    multiple=True,
    help="a packed model on the way to one of them, name or folder; several times",
)
@click.option(
    "--shots",
    type=click.IntRange(0, 50),
    multiple=True,
    default=(0,),
    show_default=True,
    help="examples before each question; several times: a row for each",
)
@click.option("--limit", type=click.IntRange(1), help="score the first N questions of each task")
@click.option(
    "--task",
    "tasks",
    type=click.Choice(TASKS),
    metavar="NAME",
    multiple=True,
    default=TASKS,
    help=f"one of {', '.join(TASKS)}; several times; default: all",
)
@click.option("--threads", type=click.IntRange(1), help="default: device_threads of the settings")
@data_option
@json_option
def scores(
    source: str,
    small: str | None,
    quality: str | None,
    cloud: str,
    steps: tuple[str, ...],
    shots: tuple[int, ...],
    limit: int | None,
    tasks: tuple[str, ...],
    threads: int | None,
    data: Path,
    as_json: bool,
) -> None:
    """Score source, packed and cloud models beside published figures, in one table.

    HellaSwag, ARC, PIQA, BoolQ, OpenBookQA and WinoGrande, by likelihood. With --shots N the first
    N questions of a task are examples before each of the others. Published are OpenELM, SmolLM2 and
    Gemma 3; other harnesses differ in prompts and in which questions they ask.
    """
    catalog = Catalog(Folders.standard().models)
    on_the_way = [("step", name) for name in steps]
    packed = [("small", small), ("quality", quality), ("cloud", cloud)]
    roles = [("source", source), *on_the_way, *packed]
    models = [(role, catalog.find(name)) for role, name in roles if name]
    asked = {task: _questions(data / "text" / f"{task}.jsonl") for task in dict.fromkeys(tasks)}
    threads = threads or Settings.load().settings.device_threads
    set_openmp_here(threads)
    rows = [
        row
        for role, model in models
        for row in _rows(role, model, asked, sorted(set(shots)), limit, threads)
    ]
    if as_json:
        emit_json({"rows": [_facts(row, rows) for row in rows], "published": _published()})
    else:
        click.echo(table(rows))


def _questions(path: Path) -> list[scoring.Question]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"{path} cannot be read", hint="--data FOLDER") from None
    return scoring.parse_questions(iter(text.split("\n")))


def _rows(
    role: str,
    model: InstalledModel,
    asked: Mapping[str, Sequence[scoring.Question]],
    shots: Sequence[int],
    limit: int | None,
    threads: int,
) -> Iterator[Row]:
    """1. One model, loaded once, with room for the longest of all."""
    text = load_text_model(model.path)
    prepared = {
        (count, task): scoring.prepare(
            questions if limit is None else questions[: count + limit], text, shots=count
        )
        for count in shots
        for task, questions in asked.items()
    }
    decoder = _decoder(model, max(map(scoring.longest, prepared.values())), threads)
    for count in shots:
        row = Row(role=role, name=model.name, bits=model.bits_per_weight, shots=count)
        began = time.perf_counter()
        for task in asked:
            row.right[task] = scoring.score(decoder, prepared[count, task]).right
            share, low, high = _share(row.right[task])
            say(f"{model.name}  {count}-shot  {task}  {share:.3f} ({low:.3f} to {high:.3f})")
        row.seconds = time.perf_counter() - began
        yield row


def _decoder(model: InstalledModel, context_tokens: int, threads: int) -> "LanguageModel":
    import torch

    from inference.decoder import load_decoder

    torch.set_num_threads(threads)
    return load_decoder(model.path, context_tokens=context_tokens)


def _share(right: Sequence[bool]) -> tuple[float, float, float]:
    """2. Share of right answers and its interval."""
    return wilson(sum(right), len(right))


def _whole(row: Row) -> list[bool]:
    return [right for each in row.right.values() for right in each]


def _against(row: Row, other: Row) -> tuple[float, float, float]:
    """3. Mean difference over questions, and its 95% interval (paired, normal)."""
    steps = [
        mine - theirs
        for task in row.right
        for mine, theirs in zip(row.right[task], other.right[task], strict=True)
    ]
    mean = statistics.fmean(steps)
    half = 1.96 * statistics.pstdev(steps) / math.sqrt(len(steps))
    return mean, mean - half, mean + half


def _facts(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "role": row.role,
        "name": row.name,
        "bits_per_weight": row.bits,
        "shots": row.shots,
        "seconds": round(row.seconds, 1),
        "tasks": {},
    }
    for task, right in row.right.items():
        share, low, high = _share(right)
        interval = {"accuracy": round(share, 4), "ci": [round(low, 4), round(high, 4)]}
        facts["tasks"][task] = {**interval, "n": len(right)}
    facts["all"] = [round(value, 4) for value in _share(_whole(row))]
    source = next((o for o in rows if o.role == "source" and o.shots == row.shots), row)
    if source is not row:
        facts["against_source"] = [round(value, 4) for value in _against(row, source)]
    return facts


def _published() -> list[dict[str, Any]]:
    return [
        {"name": each.name, "source": each.source, "shots": each.shots, "tasks": dict(each.scores)}
        for each in PUBLISHED
    ]


def table(rows: Sequence[Row]) -> str:
    """4. In Markdown, in percent; our rows with half the width of their interval."""
    lines = [
        _line(("model", "shots", *HEADS)),
        _line(["---"] * (2 + len(HEADS))),
    ]
    for row in rows:
        cells = [_cell(row, column) for column in COLUMNS]
        lines.append(
            _line((f"{row.role}: {row.name}, {row.bits:.2f} bits", str(row.shots), *cells))
        )
    for each in PUBLISHED:
        cells = [f"{each.scores[c]:.1f}" if c in each.scores else "" for c in COLUMNS]
        lines.append(_line((f"published: {each.name} [{each.source}]", each.shots, *cells)))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(row: Row, column: str) -> str:
    right = _whole(row) if column == "all" else row.right.get(column)
    if right is not None:
        share, low, high = _share(right)
        return f"{100 * share:.1f} ±{50 * (high - low):.1f}"
    parts = [row.right[part] for part in ("arc_challenge", "arc_easy") if part in row.right]
    if column == "arc" and len(parts) == 2:
        return f"{50 * sum(_share(part)[0] for part in parts):.1f}"
    return ""
