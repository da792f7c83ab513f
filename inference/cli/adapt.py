"""``lanai models adapt``: a model with an adapter that is always on."""

from pathlib import Path

import click

from inference.catalog import Catalog
from inference.catalog.adapting import install_adapted
from lanai.cli.output import emit_json, json_option, say
from lanai.folders import Folders

__all__ = ["adapt"]


@click.command()
@click.argument("model")
@click.argument("adapter", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--name", required=True, help="what the new model is called")
@json_option
def adapt(model: str, adapter: Path, name: str, as_json: bool) -> None:
    """Install MODEL anew as --name, with the adapter in the folder ADAPTER always on.

    It answers in the chat form the adapter names, and its digest covers the adapter: a device, or
    a node of the cloud, runs it like any other model.
    """
    folder = Folders.standard().models
    made = install_adapted(folder, Catalog(folder).find(model), adapter.resolve(), name)
    if as_json:
        emit_json(
            {
                "name": made.name,
                "bits_per_weight": made.bits_per_weight,
                "bytes": made.bytes,
                "sha256": made.sha256,
                "path": str(made.path),
            }
        )
    else:
        say(f"installed {made.name}, {made.bits_per_weight:.2f} bits a weight")
