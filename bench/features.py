"""``lanai bench features``: each feature against plain prompting, with the device's own model.

1. Draw cases from public sets; no case was used to choose a threshold or a prompt.
2. Ask the feature and a plain prompt, in turn, case by case, set by set.
3. Keep numbers only. A run that was stopped goes on where it ended.
4. Figures with 95% intervals (bootstrap over cases), and of the difference where cases are paired.

What costs nothing stands beside: the first sentence as a summary, a text left as it is.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bench.evaluation_data import data_option
from bench.feature_case import Case
from bench.feature_figures import figures
from bench.feature_sets import SETS, draw
from device_agent import AsyncAgent, Mode
from device_agent.cli.steps import step_bar
from lanai.cli.output import emit_json, json_option, say
from lanai.errors import AnswerError, ContextOverflow
from lanai.folders import Folders

__all__ = ["features"]

Row = dict[str, Any]


@click.command()
@click.option("--limit", default=60, show_default=True, help="cases of each set")
@click.option("--only", "only", multiple=True, help="a set by name; again for more")
@click.option("--budget-s", default=7200.0, show_default=True, help="stop asking after this long")
@click.option("--seed", default=7, show_default=True)
@click.option(
    "--raw",
    type=click.Path(path_type=Path, dir_okay=False),
    help="numbers so far, JSONL [default: in the state folder]",
)
@data_option
@json_option
def features(
    limit: int,
    only: tuple[str, ...],
    budget_s: float,
    seed: int,
    raw: Path | None,
    data: Path,
    as_json: bool,
) -> None:
    """Summaries, tone, spelling, priorities, extraction, actions: features and plain prompts."""
    names = only or tuple(SETS)
    if unknown := set(names) - SETS.keys():
        raise click.UsageError(f"no set {min(unknown)}; one of {', '.join(SETS)}")
    raw = raw or Folders.standard().state / "feature-rows.jsonl"
    cases = {name: draw(name, data / "text", limit, seed=seed) for name in names}
    rows = _known(raw, seed)
    asyncio.run(_ask(cases, rows, raw, seed, budget_s))
    found = {
        name: figures(SETS[name].metrics, [rows[c.id] for c in drawn if c.id in rows])
        for name, drawn in cases.items()
    }
    if as_json:
        emit_json(found)
    else:
        _table(found)


def _known(raw: Path, seed: int) -> dict[str, Row]:
    if not raw.exists():
        return {}
    lines = [json.loads(line) for line in raw.read_text(encoding="utf-8").splitlines()]
    return {line["id"]: line for line in lines if line["seed"] == seed}


async def _ask(
    cases: Mapping[str, list[Case]], rows: dict[str, Row], raw: Path, seed: int, budget_s: float
) -> None:
    """One case of each set in turn, until all are asked or the budget is spent."""
    deepest = max(map(len, cases.values()))
    queue = [drawn[at] for at in range(deepest) for drawn in cases.values() if at < len(drawn)]
    missing = [case for case in queue if case.id not in rows]
    raw.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + budget_s
    async with AsyncAgent.from_config(mode=Mode.ONLY_ON_DEVICE.value) as agent:
        with step_bar("asking") as progress, raw.open("a", encoding="utf-8") as file:
            for done, case in enumerate(missing):
                progress(done, len(missing))
                if time.monotonic() > until:
                    say(f"budget of {budget_s:g} s spent; {len(missing) - done} cases not asked")
                    return
                row = {"id": case.id, "seed": seed, **await _row(agent, case, done)}
                file.write(json.dumps(row) + "\n")
                file.flush()
                rows[case.id] = row


async def _row(agent: AsyncAgent, case: Case, turn: int) -> Row:
    """Who is asked first changes from case to case."""
    row: Row = {"free": dict(case.free)}
    for name in ("feature", "plain") if turn % 2 else ("plain", "feature"):
        ask = case.feature if name == "feature" else case.plain
        begun = time.perf_counter()
        try:
            row[name] = dict(await ask(agent))
        except (AnswerError, ContextOverflow) as error:  # any other is no answer to be graded
            row[name] = dict(case.failed)
            row[f"{name}_error"] = error.code
        row[f"{name}_s"] = time.perf_counter() - begun
    return row


def _table(found: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("set", "n", "figure", "feature", "plain", "difference", "free")
    for name, figure in found.items():
        for metric, sides in figure["figures"].items():
            cells = [_cell(sides.get(side)) for side in ("feature", "plain", "difference", "free")]
            table.add_row(name, str(figure["n"]), metric, *cells)
        seconds = figure["seconds"]
        table.add_row(name, "", "seconds, median", *(f"{seconds[s]:.2f}" for s in seconds), "", "")
    Console().print(table)


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return ""
    low, high = figure["ci"]
    return f"{figure['value']:.3f} [{low:.3f}, {high:.3f}]"
