"""``lanai models pack``: a source model to a packed folder."""

import contextlib
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from inference.adapters import BaseModel
from inference.catalog import Catalog, InstalledModel
from inference.catalog.adapting import attach_adapter
from inference.catalog.entries import load_entries
from inference.catalog.installed import write_manifest
from inference.catalog.progress import silent
from inference.catalog.staging import staging
from inference.cli.bar import progress_bar
from inference.cli.delta import write_restored
from inference.openmp import set_openmp_here
from inference.text import load_text_model
from lanai.cli.output import emit_json, json_option, say
from lanai.errors import UsageError
from lanai.folders import Folders
from lanai.settings import Settings

if TYPE_CHECKING:
    from inference.packing.assembly import Packed

__all__ = ["pack"]

SMALL: Final = 3.5


@click.command()
@click.argument("source")
@click.option("--bits", type=click.FloatRange(2.2, 4.5), help="default: 3.5")
@click.option(
    "--group",
    type=click.Choice(["32", "64"]),
    help="columns that share a scale; at 32, matrices of a 4-bit GGUF keep their codes where "
    "--bits allow it; default: 32 for such a file from 4 bits on, otherwise 64 where that fits",
)
@click.option(
    "--keep-codes",
    is_flag=True,
    help="keep the 4-bit codes of a GGUF as they are: in seconds, and next to nothing is lost",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="folder of the packed model, which is not there yet",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="text to calibrate with; default: text the default model wrote itself",
)
@click.option(
    "--recovery",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="adapter of `lanai adapters recover`, made for these very weights; it is always on",
)
@click.option(
    "--delta",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="file of `lanai models delta`, made of this very SOURCE: the model it was made of, in "
    "seconds, to the byte",
)
@click.option("--anew", is_flag=True, help="compute, even where a trained packing ships with Lanai")
@json_option
def pack(
    source: str,
    bits: float | None,
    group: str | None,
    keep_codes: bool,
    out: Path,
    calibration: Path | None,
    recovery: Path | None,
    delta: Path | None,
    anew: bool,
    as_json: bool,
) -> None:
    """Pack SOURCE so that a weight of its layers takes BITS on average, scales included.

    Where a packing of SOURCE that was trained for BITS ships with Lanai, as of the default device
    model's for 3.5, that is what you get, in seconds; --anew computes.
    """
    if delta is not None and (keep_codes or any((bits, group, calibration, recovery, anew))):
        raise UsageError("--delta says how to pack", hint="leave the other options away")
    if keep_codes and any(it is not None for it in (bits, group, calibration)):
        raise UsageError(
            "--keep-codes chooses no codes", hint="leave --bits, --group and --calibration away"
        )
    if out.exists():
        raise UsageError(f"{out} is there already", hint="name a folder that is not")
    threads = Settings.load().settings.device_threads
    set_openmp_here(threads)
    import torch

    torch.set_num_threads(threads)
    model = Catalog(Folders.standard().models).find(source)
    with contextlib.ExitStack() as stack:
        if delta is None and not (anew or keep_codes or any((group, calibration, recovery))):
            delta = _shipped(model, bits or SMALL, stack)
        if delta is not None:
            facts = write_restored(out.absolute(), model, delta)
        else:
            result = (
                _kept(model) if keep_codes else _rounded(model, bits or SMALL, group, calibration)
            )
            facts = _write(out.absolute(), model, result, recovery)
    if as_json:
        emit_json(facts)
    else:
        click.echo(f"{facts['bits_per_weight']:.3f} bits a weight, {facts['bytes'] / 1e6:.1f} MB")


def _shipped(source: InstalledModel, bits: float, stack: contextlib.ExitStack) -> Path | None:
    """The shipped delta trained for so many bits of this very source; ``stack`` holds its file."""
    entries = load_entries()
    for entry in entries.values():
        of = entries.get(entry.delta_of or "")
        if of is None or entry.delta is None:
            continue
        if (of.sha256, entry.body_bits) == (source.sha256, bits):
            say(f"the trained packing that ships as {entry.name} is taken; --anew computes one")
            return stack.enter_context(resources.as_file(entry.delta))
    return None


def _kept(model: InstalledModel) -> "Packed":
    from inference.packing.kept import keep_codes

    with progress_bar(of_bytes=False) as progress:
        return keep_codes(model.path, progress=partial(progress or silent, "packing"))


def _rounded(
    model: InstalledModel, bits: float, group: str | None, calibration: Path | None
) -> "Packed":
    from inference.packing.calibration import bundled_text
    from inference.packing.pack import pack as packed_of

    prose = _read(calibration) if calibration else bundled_text()
    text = load_text_model(model.path)
    columns = None if group is None else int(group)
    return packed_of(model.path, text, prose, bits=bits, group=columns, say=say)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not a text file in UTF-8", hint="save it as UTF-8") from error


def _write(
    out: Path, source: InstalledModel, result: "Packed", recovery: Path | None
) -> dict[str, Any]:
    """The folder appears whole or not at all. Gives the keys of CONTRACTS."""
    from inference.packing.folder import fill_folder, packed_model, packing_facts

    with staging(out) as stage:
        fill_folder(stage.folder, source.path, result)
        manifest = packed_model(out.name, stage.folder, source)
        if recovery is not None:
            base = BaseModel(digests=frozenset({manifest.sha256, source.sha256}))
            manifest = attach_adapter(manifest, recovery, result.config, base)
        write_manifest(manifest)
        stage.commit()
    return packing_facts(manifest, result)
