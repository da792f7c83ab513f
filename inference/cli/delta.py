"""``lanai models delta``: a packed model as what it has beyond its source."""

from pathlib import Path

import click

from inference.catalog import Catalog
from lanai.cli.output import emit_json, json_option, say
from lanai.errors import UsageError
from lanai.folders import Folders

__all__ = ["delta"]


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
    from inference.catalog.copying import digest_of
    from inference.deltas.making import make_delta
    from inference.formats.packed import WEIGHTS, PackedFile

    adapter = None if model.adapter is None else model.path / model.adapter
    files = {} if adapter is None else {file.name: file.read_bytes() for file in adapter.iterdir()}
    weights = model.path / WEIGHTS
    made = make_delta(
        PackedFile.open(weights),
        origin.path,
        of=origin.sha256,
        weights=digest_of(weights),
        files=files,
    )
    made.write(out)
    size = out.stat().st_size
    if as_json:
        emit_json({"path": str(out), "bytes": size, "of_bytes": model.bytes})
    else:
        say(f"{size / 1e6:.1f} MB, of {model.bytes / 1e6:.1f} MB")
