"""``lanai adapters train | recover``: low-rank adapters, trained in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

import click

from inference.adapters import AdapterManifest, Base, base_model_at, read_adapter, write_adapter
from inference.catalog import Catalog, InstalledModel
from inference.catalog.staging import staging
from inference.openmp import set_openmp_here
from inference.text import ChatMessage, TextModel, load_text_model
from lanai.cli.output import emit_json, json_option, say
from lanai.content import Content
from lanai.errors import UsageError
from lanai.folders import Folders
from lanai.settings import Settings

if TYPE_CHECKING:
    from inference.training import (
        LowRankChanges,
        Point,
        TrainableDecoder,
        Trained,
        TrainingSettings,
    )

__all__ = ["recover", "train"]

CURVE = "learning_curve.png"
LAST_ANSWER = "\n\n"


def bounds(command: Callable[..., None]) -> Callable[..., None]:
    """The options both commands share."""
    for option in (
        click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True),
        click.option("--rank", type=click.IntRange(1, 256), default=16, show_default=True),
        click.option("--minutes", type=click.FloatRange(0), default=30.0, show_default=True),
        click.option("--steps", type=click.IntRange(1), help="stop after so many, if sooner"),
        click.option("--rate", type=click.FloatRange(0, 1, min_open=True), help="learning rate"),
        click.option("--tokens", type=click.IntRange(16), default=2048, help="of a batch"),
        click.option("--evaluate-every", type=click.IntRange(1), default=25, help="steps"),
        click.option("--patience", type=click.IntRange(1), default=4, help="evaluations"),
        click.option(
            "--begin-with",
            type=click.Path(path_type=Path, file_okay=False, exists=True),
            help="an adapter's folder: go on from there",
        ),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True),
        json_option,
    ):
        command = option(command)
    return command


@click.command()
@click.argument("data", type=click.File("r", encoding="utf-8", errors="strict"))
@click.option("--base", required=True, help="model to adapt: a name or a path")
@click.option("--longest", type=click.IntRange(16), default=512, help="tokens of an example")
@click.option("--license", "license_", default="", help="of what the adapter was made of")
@bounds
def train(
    data: TextIO,
    base: str,
    longest: int,
    license_: str,
    out: Path,
    begin_with: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Train an adapter of BASE on DATA, JSONL: {"prompt", "answer"} or {"messages": […]}.

    A twentieth of the examples is held out. Training ends when the loss on those has not fallen for
    --patience evaluations, or when time is over; the best adapter is kept.
    """
    _refuse_existing(out)
    model = _found(base)
    _prepare_torch()
    from inference import training

    text = load_text_model(model.path)
    settings = _settings(chosen, rate=5e-4)
    examples = training.parse_examples(
        _lines(data), text, end=_end_of_answer(text), longest=longest
    )
    say(f"{len(examples)} examples")
    decoder = training.TrainableDecoder.load(model.path)
    trained = training.train(
        decoder,
        examples,
        settings,
        changes=_before(begin_with, decoder, model),
        on_progress=_say_point,
    )
    manifest = AdapterManifest(name=out.name, base=_base(model), license=license_)
    _finish(out, trained, manifest, 16, as_json, unit="nats a token of an answer")


@click.command()
@click.argument("packed")
@click.option("--source", required=True, help="the model PACKED was packed from")
@click.option("--sequences", type=click.IntRange(4), default=256, show_default=True)
@click.option("--length", type=click.IntRange(8), default=512, show_default=True)
@click.option(
    "--written",
    type=click.Path(path_type=Path, dir_okay=False),
    help=".npy file to keep the sequences in, or to take them from",
)
@bounds
def recover(
    packed: str,
    source: str,
    sequences: int,
    length: int,
    written: Path | None,
    out: Path,
    begin_with: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Make the adapter that brings PACKED back towards its SOURCE, in 8 bits.

    The source writes --sequences texts. A closed form finds a first adapter from some of them; from
    there on the packed model learns the source's distribution on all of them, for --minutes.
    """
    _refuse_existing(out)
    theirs, mine = _found(source), _found(packed)
    _prepare_torch()
    from inference.training import TrainableDecoder
    from inference.training.recovery import recover as recovered
    from inference.training.sequences import sequences_of

    ids = sequences_of(theirs.path, written, sequences, length, chosen["seed"], say=say)
    decoder = TrainableDecoder.load(mine.path)
    trained = recovered(
        decoder,
        TrainableDecoder.load(theirs.path),
        ids,
        _settings(chosen, rate=3e-4),
        begin_with=_before(begin_with, decoder, mine),
        on_layer=lambda layer: say(f"layer {layer + 1} fitted"),
        on_progress=_say_point,
    )
    manifest = AdapterManifest(
        name=out.name, base=_base(mine), kind="recovery", license=theirs.license
    )
    _finish(out, trained, manifest, 8, as_json, unit="nats of divergence a token")


def _refuse_existing(out: Path) -> None:
    if out.exists():
        raise UsageError(f"{out} is there already", hint="name a folder that is not")


def _found(name: str) -> InstalledModel:
    return Catalog(Folders.standard().models).find(name)


def _prepare_torch() -> None:
    threads = Settings.load().settings.device_threads
    set_openmp_here(threads)
    import torch

    torch.set_num_threads(threads)


def _settings(chosen: dict[str, Any], *, rate: float) -> "TrainingSettings":
    from inference.training import TrainingSettings

    return TrainingSettings(**{**chosen, "rate": chosen["rate"] or rate})


def _base(model: InstalledModel) -> Base:
    return Base(name=model.name, architecture=model.architecture, sha256=model.sha256)


def _before(
    folder: Path | None, decoder: "TrainableDecoder", model: InstalledModel
) -> "LowRankChanges | None":
    from inference.training import LowRankChanges

    if folder is None:
        return None
    known = read_adapter(
        folder, decoder.config, base=base_model_at(model.path, sha256=model.sha256)
    )
    return LowRankChanges.of(decoder.config, known)


def _end_of_answer(text: TextModel) -> str | int:
    """What closes an answer in this model's form: a stop token of its template, or a blank line."""
    if text.template is None:
        return LAST_ANSWER
    said = [ChatMessage(role=role, text=Content("x")) for role in ("user", "assistant", "user")]
    closing = [token for token in text.render(said) if token in text.stop_ids]
    return closing[-1] if closing else min(text.stop_ids)


def _lines(data: TextIO) -> list[str]:
    try:
        return data.read().split("\n")
    except UnicodeDecodeError:
        raise UsageError(f"{Path(data.name).name} is not UTF-8 text") from None


def _say_point(point: "Point") -> None:
    if point.held_out is not None:
        say(f"step {point.step}  {point.seconds:.0f} s  held out {point.held_out:.4f}")
    elif point.loss is not None and point.step % 5 == 0:
        say(f"step {point.step}  {point.seconds:.0f} s  {point.loss:.4f}")


def _finish(
    out: Path,
    trained: "Trained",
    manifest: AdapterManifest,
    bits: Literal[16, 8],
    as_json: bool,
    *,
    unit: str,
) -> None:
    """Write the folder, which appears whole or not at all, and say what came of it."""
    from inference.training.curve import can_draw, draw_curve

    with staging(out.absolute()) as stage:
        written = write_adapter(
            stage.folder, trained.changes.adapter(manifest.name), manifest, bits
        )
        if can_draw():
            draw_curve(trained.curve, stage.folder / CURVE, title=manifest.name, unit=unit)
        else:
            say("no learning curve: matplotlib is not installed (lanai[plots])")
        stage.commit()
    facts = {
        "name": written.name,
        "bytes": written.bytes,
        "sha256": written.sha256,
        "steps": trained.curve[-1].step,
        "tokens": trained.curve[-1].tokens,
        "seconds": round(trained.curve[-1].seconds, 1),
        "before": trained.before.held_out,
        "held_out": trained.best.held_out,
        "best_step": trained.best.step,
        "stopped_early": trained.stopped_early,
    }
    if as_json:
        emit_json(facts)
    else:
        click.echo(
            f"held out {facts['before']:.4f} before, {facts['held_out']:.4f} at step "
            f"{facts['best_step']} of {facts['steps']}; {written.bytes / 1e6:.1f} MB"
        )
