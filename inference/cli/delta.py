"""``lanai models delta``: a packed model as what it has beyond its source."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from inference.adapters import BaseModel, read_adapter
from inference.catalog import Catalog, InstalledModel
from inference.catalog.copying import digest_of
from inference.catalog.installed import own_adapter, weight_files, with_adapter, write_manifest
from inference.catalog.progress import silent
from inference.catalog.staging import staging
from inference.cli.bar import progress_bar
from inference.formats.packed import PackedFile
from lanai.cli.output import emit_json, json_option, say
from lanai.errors import UsageError
from lanai.folders import Folders

__all__ = ["delta", "write_restored"]


@click.command()
@click.argument("packed")
@click.argument("source")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="file that is written, which is not there yet",
)
@json_option
def delta(packed: str, source: str, out: Path, as_json: bool) -> None:
    """Write what the model PACKED has beyond SOURCE, which it was packed of: few of its bytes.

    Its adapter goes with it. `lanai models pack SOURCE --delta FILE` makes it again, to the byte.
    """
    if out.exists():
        raise UsageError(f"{out} is there already", hint="name a file that is not")
    catalog = Catalog(Folders.standard().models)
    model, origin = catalog.find(packed), catalog.find(source)
    if model.format != "packed":
        raise UsageError(f"{model.name} is not a packed model", hint="`lanai models pack`")
    from inference.deltas.making import make_delta

    weights, *adapter = weight_files(model.path, model.file, model.adapter)
    made = make_delta(
        PackedFile.open(weights),
        origin.path,
        of=origin.sha256,
        weights=digest_of(weights),
        files={file.name: file.read_bytes() for file in adapter},
    )
    made.write(out)
    size = out.stat().st_size
    if as_json:
        emit_json({"path": str(out), "bytes": size, "of_bytes": model.bytes})
    else:
        say(f"{size / 1e6:.1f} MB, of {model.bytes / 1e6:.1f} MB")


def write_restored(out: Path, source: InstalledModel, path: Path) -> dict[str, Any]:
    """The packed model of ``source`` and the delta at ``path``; gives what ``models pack`` prints.

    The folder appears whole or not at all.
    """
    from inference.deltas.delta_file import Delta
    from inference.deltas.restoring import fill_restored
    from inference.packing.folder import packed_model, packing_facts

    read = Delta.open(path)
    if read.source != source.sha256:
        raise UsageError(
            f"{path} was made of other weights than those of {source.name}",
            hint="name the source it was made of",
        )
    with staging(out) as stage, progress_bar(of_bytes=False) as progress:
        say_layer = partial(progress or silent, "packing")
        result = fill_restored(stage.folder, source.path, read, progress=say_layer)
        manifest = packed_model(out.name, stage.folder, source)
        if (adapter := own_adapter(stage.folder)) is not None:
            base = BaseModel(digests=frozenset({manifest.sha256}))
            read_adapter(stage.folder / adapter, result.config, base=base)
            manifest = with_adapter(manifest)
        write_manifest(manifest)
        stage.commit()
    return packing_facts(manifest, result)
