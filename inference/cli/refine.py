"""``lanai models refine``: a packed model learns through its own rounding."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inference.adapters import AdapterManifest, Base, BaseModel, write_adapter
from inference.catalog import InstalledModel, Progress
from inference.catalog.adapting import attach_adapter
from inference.catalog.installed import write_manifest
from inference.catalog.progress import silent
from inference.catalog.staging import staging
from inference.cli.adapter_making import (
    begun_with,
    found,
    own_recovery,
    prepare_torch,
    refuse_existing,
    say_point,
)
from inference.cli.bar import progress_bar
from inference.cli.texts import texts, texts_of
from inference.formats import locate
from lanai.cli.output import emit_json, json_option, say
from lanai.errors import UsageError

if TYPE_CHECKING:
    from inference.formats.packed import PackedFile
    from inference.training import TrainingSettings
    from inference.training.blocks import BlockError, BlockSettings
    from inference.training.layer_store import LayerStore
    from inference.training.refining import Refined, WholeRates

__all__ = ["refine"]


@click.command()
@click.argument("packed")
@click.option("--source", required=True, help="the model PACKED was packed from")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="folder of the refined model, which is not there yet",
)
@click.option(
    "--recovery",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="adapter of `lanai adapters recover` for PACKED: it learns along, and is always on; "
    "one that PACKED has already learns along by itself",
)
@click.option(
    "--epochs",
    type=click.IntRange(0, 100),
    default=2,
    show_default=True,
    help="over the texts, layer by layer",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, 1, min_open=True),
    default=1e-3,
    show_default=True,
    help="learning rate of weights, layer by layer, in root mean squares of their matrix",
)
@click.option(
    "--minutes",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="of learning in all layers at once, behind that",
)
@click.option("--steps", type=click.IntRange(1), help="of the same, if sooner")
@click.option(
    "--tokens",
    type=click.IntRange(16),
    help="of one batch of the same  [default: 2048, with --hold matrices 1024]",
)
@click.option(
    "--hold",
    type=click.Choice(["codes", "matrices"]),
    help="what stays as it is in all layers at once: codes, so that scales learn, or matrices, so "
    "that the adapter of --recovery learns alone",
)
@texts
@click.option(
    "--layers",
    "kept",
    type=click.Path(path_type=Path, file_okay=False),
    help="folder that keeps each trained layer: a run that was stopped goes on from there",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@json_option
def refine(
    packed: str,
    source: str,
    out: Path,
    recovery: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Train the packed model PACKED through its rounding; its size stays what it is.

    The source writes --sequences texts. Layer by layer, weights and scales learn to give the
    source's states; then all layers at once learn its distribution, for --minutes.
    """
    refuse_existing(out)
    theirs, mine = found(source), found(packed)
    files = locate(mine.path)
    if files.format != "packed":
        raise UsageError(f"{mine.name} is not packed", hint="see `lanai models pack`")
    if (own := own_recovery(mine)) is not None and recovery is not None:
        raise UsageError(
            f"{mine.name} has an adapter of its own already", hint="leave --recovery out"
        )
    recovery = own or recovery
    prepare_torch()
    from inference.formats.packed import PackedFile
    from inference.training import TrainableDecoder
    from inference.training import refining as training

    ids = texts_of(theirs, chosen)
    file = PackedFile.open(files.weights)
    decoder = TrainableDecoder.load(mine.path)
    blocks = _blocks(chosen)
    with _bar(file.config.layers) as on_layer:
        refined = training.refine(
            decoder,
            file.matrices,
            TrainableDecoder.load(theirs.path),
            ids,
            blocks,
            _whole(chosen),
            rates=_rates(chosen["hold"]),
            seed=chosen["seed"],
            changes=begun_with(recovery, decoder, mine),
            store=_store(chosen["kept"], mine, recovery, blocks, ids.numpy().tobytes()),
            on_layer=on_layer,
            on_progress=say_point,
        )
    manifest = _write(out.absolute(), theirs, file, refined)
    facts = _facts(manifest, refined)
    if as_json:
        emit_json(facts)
    else:
        click.echo(f"{manifest.bits_per_weight:.3f} bits a weight, {manifest.bytes / 1e6:.1f} MB")


def _blocks(chosen: dict[str, Any]) -> "BlockSettings | None":
    from inference.training.blocks import BlockSettings

    if not chosen["epochs"]:
        return None
    return BlockSettings(epochs=chosen["epochs"], rate=chosen["rate"], seed=chosen["seed"])


def _rates(hold: str | None) -> "WholeRates | None":
    from inference.training.refining import WholeRates

    if hold == "matrices":
        return None
    return WholeRates(rate=0.0) if hold == "codes" else WholeRates()


def _whole(chosen: dict[str, Any]) -> "TrainingSettings | None":
    from inference.training import TrainingSettings
    from inference.training.blocks import EPSILON

    if not chosen["minutes"]:
        return None
    bounds = {key: chosen[key] for key in ("minutes", "steps", "seed")}
    alone = chosen["hold"] == "matrices"
    bounds["tokens"] = chosen["tokens"] or (1024 if alone else 2048)
    if alone:
        # At the full rate the held-out loss rises first: only the end of the steps ends it.
        return TrainingSettings(rate=8e-4, evaluate_every=50, patience=sys.maxsize, **bounds)
    return TrainingSettings(rate=3e-4, epsilon=EPSILON, **bounds)


def _store(
    folder: Path | None,
    model: InstalledModel,
    recovery: Path | None,
    blocks: "BlockSettings | None",
    text: bytes,
) -> "LayerStore | None":
    from inference.training.layer_store import LayerStore, run_digest

    if folder is None:
        return None
    adapter = b"" if recovery is None else _adapter_bytes(recovery)
    return LayerStore(folder, run_digest(model.sha256, adapter, blocks, text))


def _adapter_bytes(adapter: Path) -> bytes:
    """What an adapter says, in a fixed order of its files."""
    return b"".join(file.read_bytes() for file in sorted(adapter.glob("*.safetensors")))


@contextmanager
def _bar(layers: int) -> Iterator[Any]:
    with progress_bar(of_bytes=False) as progress:
        yield partial(_say_layer, progress or silent, layers)


def _say_layer(progress: Progress, layers: int, error: "BlockError") -> None:
    progress("layers", error.layer + 1, layers)
    say(f"layer {error.layer + 1}  held out {error.before:.5f} before, {error.after:.5f} after")


def _write(
    out: Path, source: InstalledModel, file: "PackedFile", refined: "Refined"
) -> InstalledModel:
    """The folder appears whole or not at all."""
    from inference.packing.assembly import Packed
    from inference.packing.folder import fill_folder, packed_model

    result = Packed(
        config=file.config,
        group=file.group,
        matrices=dict(file.matrices) | refined.matrices,
        vectors=dict(file.vectors),
    )
    with staging(out) as stage, tempfile.TemporaryDirectory() as temporary:
        fill_folder(stage.folder, source.path, result)
        manifest = packed_model(out.name, stage.folder, source)
        if refined.changes is not None:
            name = f"{out.name}-recovery".lower()
            adapter = Path(temporary) / name
            base = Base(name=out.name, architecture=manifest.architecture, sha256=manifest.sha256)
            write_adapter(
                adapter,
                refined.changes.adapter(name),
                AdapterManifest(name=name, base=base, kind="recovery", license=source.license),
                16,
            )
            known = BaseModel(digests=frozenset({manifest.sha256}))
            manifest = attach_adapter(manifest, adapter, result.config, known)
        write_manifest(manifest)
        stage.commit()
    return manifest


def _facts(manifest: InstalledModel, refined: "Refined") -> dict[str, Any]:
    body = refined.matrices.values()
    weights = sum(matrix.shape[0] * matrix.shape[1] for matrix in body)
    whole = refined.whole
    return {
        "name": manifest.name,
        "bits_per_weight": manifest.bits_per_weight,
        "body_bits_per_weight": round(sum(matrix.bytes for matrix in body) * 8 / weights, 4),
        "bytes": manifest.bytes,
        "sha256": manifest.sha256,
        "before": None if whole is None else whole.before.held_out,
        "held_out": None if whole is None else whole.best.held_out,
        "steps": 0 if whole is None else whole.curve[-1].step,
        "tokens": 0 if whole is None else whole.curve[-1].tokens,
    }
