"""``lanai adapters recover``: what packing lost, given back by a low-rank adapter."""

from pathlib import Path
from typing import Any

import click

from inference.adapters import AdapterManifest
from inference.cli.adapter_making import (
    base_of,
    begun_with,
    bounds,
    finish,
    found,
    prepare_torch,
    refuse_existing,
    say_point,
    settings_of,
)
from inference.cli.texts import texts, texts_of
from lanai.cli.output import say
from lanai.errors import UsageError

__all__ = ["recover"]


@click.command()
@click.argument("packed")
@click.option("--source", required=True, help="the model PACKED was packed from")
@texts
@bounds
def recover(
    packed: str,
    source: str,
    out: Path,
    begin_with: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Make the adapter that brings PACKED back towards its SOURCE, in 8 bits.

    The source writes --sequences texts. A closed form finds a first adapter from some of them; from
    there on the packed model learns the source's distribution on all of them, for --minutes.
    """
    refuse_existing(out)
    theirs, mine = found(source), found(packed)
    if mine.adapter is not None:
        raise UsageError(
            f"{mine.name} has an adapter of its own already",
            hint="`lanai models refine --epochs 0 --minutes 30 --hold matrices` trains it on",
        )
    prepare_torch()
    from inference.training import TrainableDecoder
    from inference.training.recovery import recover as recovered

    ids = texts_of(theirs, chosen)
    decoder = TrainableDecoder.load(mine.path)
    trained = recovered(
        decoder,
        TrainableDecoder.load(theirs.path),
        ids,
        settings_of(chosen, rate=3e-4),
        begin_with=begun_with(begin_with, decoder, mine),
        on_layer=lambda layer: say(f"layer {layer + 1} fitted"),
        on_progress=say_point,
    )
    manifest = AdapterManifest(
        name=out.name, base=base_of(mine), kind="recovery", license=theirs.license
    )
    finish(out, trained, manifest, 8, as_json, unit="nats of divergence a token")
