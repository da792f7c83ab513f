"""Training the chat adapter, with checkpoints, so that an end before its time leaves an adapter."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from bench.instruction.chat_form import END_OF_TURN, TEMPLATE, in_chat_form
from inference.adapters import Adapter, AdapterManifest, Base, read_adapter, write_adapter
from inference.catalog import InstalledModel
from inference.training import (
    LowRankChanges,
    Point,
    TrainableDecoder,
    Trained,
    TrainingSettings,
    train,
)
from inference.training.rows import parse_examples

__all__ = ["NAME", "SETTINGS", "learn", "write"]

NAME: Final = "gemma-3-270m-chat"
LICENCE: Final = "Gemma Terms of Use"
LONGEST: Final = 320
KEEP_EVERY: Final = 20  # steps between two checkpoints
# What `train` is given beside its minutes.
SETTINGS: Final[dict[str, Any]] = {
    "rank": 16,
    "rate": 1e-3,
    "warmup_steps": 12,
    "tokens": 1024,
    "held_out": 0.02,
    "evaluate_every": 40,
    "patience": 100,  # the minutes end it
}


def learn(
    model: InstalledModel,
    lines: Iterable[str],
    out: Path,
    *,
    minutes: float,
    log: Path,
    start: Path | None = None,
) -> Trained:
    """Train on the rows of ``lines`` and write ``out`` now and then, and at the end the best.

    ``log`` gets the learning curve, a line a point: numbers only. ``start``: the adapter to go on
    from, such as one that an earlier end left; the examples then come in another order.
    """
    text = in_chat_form(model.path)
    stop = text.tokens.control[END_OF_TURN]
    examples = parse_examples(lines, text, end=stop, longest=LONGEST)
    base = TrainableDecoder.load(model.path)
    seed = 0 if start is None else 1
    settings = TrainingSettings(minutes=minutes, seed=seed, **SETTINGS)
    changes = LowRankChanges(base.config, rank=settings.rank, seed=seed)
    if start is not None:
        changes = LowRankChanges.of(base.config, read_adapter(start, base.config))

    def note(point: Point) -> None:
        _append(log, point)
        if point.step and point.step % KEEP_EVERY == 0 and point.loss is not None:
            write(out, changes.adapter(NAME), model)

    trained = train(base, examples, settings, changes=changes, on_progress=note)
    write(out, trained.changes.adapter(NAME), model)
    return trained


def write(out: Path, adapter: Adapter, model: InstalledModel) -> None:
    """The adapter's folder in 8 bits, the form it is shipped in."""
    manifest = AdapterManifest(
        name=NAME,
        base=Base(name=model.name, architecture=model.architecture, sha256=model.sha256),
        chat_template=TEMPLATE,
        stop=(END_OF_TURN,),
        license=LICENCE,
    )
    write_adapter(out, adapter, manifest, bits=8)


def _append(log: Path, point: Point) -> None:
    row = {
        "step": point.step,
        "seconds": round(point.seconds, 1),
        "tokens": point.tokens,
        "loss": point.loss,
        "held_out": point.held_out,
    }
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
