"""What `train` and `recover` share: options, the model to adapt, the folder that is written."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from inference.adapters import AdapterManifest, Base, base_model_at, read_adapter, write_adapter
from inference.adapters.manifest import read_manifest
from inference.catalog import Catalog, InstalledModel
from inference.catalog.staging import staging
from inference.openmp import set_openmp_here
from lanai.cli.output import emit_json, json_option, say
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

__all__ = [
    "base_of",
    "begun_with",
    "bounds",
    "finish",
    "found",
    "own_recovery",
    "prepare_torch",
    "refuse_existing",
    "say_point",
    "settings_of",
]

CURVE: Final = "learning_curve.png"


def bounds(command: Callable[..., None]) -> Callable[..., None]:
    """The options both commands share."""
    for option in reversed(_BOUNDS):  # the first that is applied would be listed last
        command = option(command)
    return command


_BOUNDS: Final = (
    click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        required=True,
        help="folder of the adapter, which is not there yet",
    ),
    click.option(
        "--rank", type=click.IntRange(1, 256), default=16, show_default=True, help="of each change"
    ),
    click.option(
        "--minutes", type=click.FloatRange(0), default=30.0, show_default=True, help="at most"
    ),
    click.option("--steps", type=click.IntRange(1), help="stop after so many, if sooner"),
    click.option(
        "--rate",
        type=click.FloatRange(0, 1, min_open=True),
        help="learning rate  [default: 0.0005 from examples, 0.0003 for recovery]",
    ),
    click.option(
        "--tokens", type=click.IntRange(16), default=2048, show_default=True, help="of one batch"
    ),
    click.option(
        "--evaluate-every",
        type=click.IntRange(1),
        default=25,
        show_default=True,
        help="steps between two looks at what is held out",
    ),
    click.option(
        "--patience",
        type=click.IntRange(1),
        default=4,
        show_default=True,
        help="looks without a lower loss before training ends",
    ),
    click.option(
        "--begin-with",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        help="an adapter's folder: go on from there",
    ),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True),
    json_option,
)


def refuse_existing(out: Path) -> None:
    if out.exists():
        raise UsageError(f"{out} is there already", hint="name a folder that is not")


def found(name: str) -> InstalledModel:
    return Catalog(Folders.standard().models).find(name)


def prepare_torch() -> None:
    threads = Settings.load().settings.device_threads
    set_openmp_here(threads)
    import torch

    torch.set_num_threads(threads)


def settings_of(chosen: dict[str, Any], *, rate: float) -> "TrainingSettings":
    from inference.training import TrainingSettings

    return TrainingSettings(**{**chosen, "rate": chosen["rate"] or rate})


def base_of(model: InstalledModel) -> Base:
    return Base(name=model.name, architecture=model.architecture, sha256=model.sha256)


def begun_with(
    folder: Path | None, decoder: "TrainableDecoder", model: InstalledModel
) -> "LowRankChanges | None":
    from inference.training import LowRankChanges

    if folder is None:
        return None
    # One of the model's own was checked where the model was made.
    own = model.adapter is not None and folder == model.path / model.adapter
    base = None if own else base_model_at(model.path, sha256=model.sha256)
    known = read_adapter(folder, decoder.config, base=base)
    return LowRankChanges.of(decoder.config, known)


def own_recovery(model: InstalledModel) -> Path | None:
    """The folder of the recovery adapter that is always on in ``model``, if there is one.

    Raises ``UsageError`` where another adapter is, which says something else than the source.
    """
    if model.adapter is None:
        return None
    folder = model.path / model.adapter
    manifest = read_manifest(folder)
    if manifest is None or manifest.kind != "recovery":
        raise UsageError(
            f"{model.name} has an adapter of its own that is none of recovery",
            hint="name the model it was adapted from",
        )
    return folder


def say_point(point: "Point") -> None:
    if point.held_out is not None:
        say(f"step {point.step}  {point.seconds:.0f} s  held out {point.held_out:.4f}")
    elif point.loss is not None and point.step % 5 == 0:
        say(f"step {point.step}  {point.seconds:.0f} s  {point.loss:.4f}")


def finish(
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
            f"{facts['best_step']} of {facts['steps']}, {unit}; {written.bytes / 1e6:.1f} MB"
        )
