"""``lanai models profile``: what each matrix costs and buys at each number of bits."""

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, TextIO

import click

from inference.catalog import Catalog, InstalledModel
from inference.cli.bar import progress_bar
from inference.openmp import set_openmp_here
from inference.text import load_text_model
from lanai.cli.output import emit_json, json_option
from lanai.errors import UsageError
from lanai.folders import Folders
from lanai.settings import Settings

if TYPE_CHECKING:
    from inference.profiling import Plan, Profile

__all__ = ["profile"]

PACKED = "packed:"
INDENT = " " * 11


@click.command()
@click.argument("name")
@click.option(
    "--bits",
    type=click.FloatRange(2.2, 4.5),
    help="budget a weight of the layers; default: what the packed model has, or 3.5",
)
@click.option("--source", help="what a packed NAME was packed from; default: as it says")
@click.option(
    "--text",
    "prose",
    type=click.File("r", encoding="utf-8", errors="strict"),
    help="text to score: perplexity before and after; - reads stdin",
)
@click.option("--chunks", type=click.IntRange(1), default=8, show_default=True, help="windows")
@click.option("--window", type=click.IntRange(16), default=512, show_default=True, help="tokens")
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True, help="of latency")
@click.option(
    "--threads", type=click.IntRange(1, 256), help="default: device_threads of the settings"
)
@click.option(
    "--byte-pj",
    type=click.FloatRange(0),
    default=162.5,
    show_default=True,
    help="picojoules of a byte from memory",
)
@click.option(
    "--operation-pj",
    type=click.FloatRange(0),
    default=0.3,
    show_default=True,
    help="picojoules of a multiplication",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="FILE.html to look around in, FILE.png or FILE.svg",
)
@json_option
def profile(
    name: str,
    bits: float | None,
    source: str | None,
    prose: TextIO | None,
    chunks: int,
    window: int,
    rounds: int,
    threads: int | None,
    byte_pj: float,
    operation_pj: float,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Latency, bytes and error of each matrix of NAME by bits, and the allocation at a budget.

    Errors and the estimated loss are of plain rounding; packing makes up for part of them. Energy
    is estimated from --byte-pj a byte read and --operation-pj a multiplication (Horowitz 2014).
    """
    if plot is not None and plot.suffix not in (".html", ".png", ".svg"):
        raise UsageError(f"{plot} is no picture", hint="--plot FILE.html, FILE.png or FILE.svg")
    threads = threads or Settings.load().settings.device_threads
    set_openmp_here(threads)
    import torch

    from inference.packing.calibration import bundled_text
    from inference.profiling import Energy, Plan

    torch.set_num_threads(threads)
    catalog = Catalog(Folders.standard().models)
    model = catalog.find(name)
    base = _base(catalog, model, source)
    text = load_text_model(base.path)
    ids = None if prose is None else text.encode(_read(prose))
    if ids is not None and len(ids) < window * chunks:
        raise UsageError(
            f"the text has {len(ids)} tokens, {chunks} windows of {window} were asked for",
            hint=f"--chunks {max(len(ids) // window, 1)}, or a longer text",
        )
    plan = Plan(
        threads=threads,
        calibration=bundled_text(),
        bits=bits,
        rounds=rounds,
        energy=Energy(byte_pj=byte_pj, operation_pj=operation_pj),
        ids=ids,
        window=window,
        chunks=chunks,
    )
    found = _profiled(model, base, plan)
    if plot is not None:
        _show(found, plot)
    if as_json:
        emit_json(found.to_json())
    else:
        _print(found)


def _base(catalog: Catalog, model: InstalledModel, source: str | None) -> InstalledModel:
    """What is rounded: ``model`` itself, or what it was packed from."""
    if model.format != "packed":
        return model
    named, _, digest = model.source.removeprefix(PACKED).partition("@sha256:")
    base = catalog.find(source or named)
    if source is None and base.sha256 != digest:
        raise UsageError(
            f"{base.name} is not what {model.name} was packed from", hint="--source NAME or PATH"
        )
    return base


def _read(prose: TextIO) -> str:
    try:
        return prose.read()
    except UnicodeDecodeError:
        raise UsageError(
            f"{Path(prose.name).name} is not UTF-8 text", hint="save it as UTF-8"
        ) from None


def _profiled(model: InstalledModel, base: InstalledModel, plan: "Plan") -> "Profile":
    from inference.catalog.progress import silent
    from inference.profiling import profile as profiled

    with progress_bar(of_bytes=False) as progress:
        return profiled(model, base, load_text_model(base.path), plan, progress or silent)


def _show(found: "Profile", plot: Path) -> None:
    from inference.profiling import draw, write_page

    (write_page if plot.suffix == ".html" else draw)(found, plot)


def _print(found: "Profile") -> None:
    kinds: dict[str, list[str]] = {}
    for tensor in found.tensors:
        bits, offsets = found.allocation.chosen.get(tensor.name, (8, False))
        kinds.setdefault(tensor.name.rpartition(".")[2], []).append(f"{bits}{'+' * offsets}")
    for kind, chosen in kinds.items():
        click.echo(
            fill(" ".join(chosen), 79, initial_indent=f"{kind:<11}", subsequent_indent=INDENT)
        )
    lines = {f"all {name}": totals for name, totals in found.uniform.items()}
    for name, totals in {**lines, "chosen": found.allocation.totals}.items():
        click.echo(
            f"{name:<10} {totals.body_bits:5.2f} bits {totals.bytes / 1e6:6.1f} MB "
            f"{totals.latency_ms:7.3f} ms {totals.energy_mj:6.2f} mJ  loss +{totals.loss:.4f}"
        )
    gain = found.gain
    click.echo(
        f"against 8 bits: {gain['latency_ms']:.3f} ms and {gain['energy_mj']:.2f} mJ a token less, "
        f"perplexity × {gain['perplexity']:.4f}"
    )
    if found.step_ms is not None:
        click.echo(f"a step of {found.name} as it is: {found.step_ms:.3f} ms")
    for name, error in found.cache.items():
        click.echo(
            f"cache, {name}: logits {100 * error.logit_error:.2f}%, divergence "
            f"{error.divergence:.5f}, perplexity {error.perplexity:.3f} "
            f"for {error.perplexity_float:.3f}"
        )
    for name, value in (found.perplexity or {}).items():
        click.echo(f"perplexity, {name}: {value:.3f}")
