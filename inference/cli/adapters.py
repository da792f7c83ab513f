"""``lanai adapters``: what is installed, adding, removing; training is in ``train``."""

from pathlib import Path
from typing import Any

import click

from inference.adapters.store import AdapterStore, InstalledAdapter
from inference.catalog import Catalog
from inference.cli.recover import recover
from inference.cli.train import train
from lanai.cli.group import Group
from lanai.cli.output import emit_json, json_option, say
from lanai.folders import Folders
from lanai.settings import Settings

__all__ = ["adapters"]


@click.group(cls=Group)
def adapters() -> None:
    """Low-rank adapters of the device's models: install, train."""


def store() -> AdapterStore:
    return AdapterStore(Folders.standard().adapters)


@adapters.command("list")
@json_option
def list_adapters(as_json: bool) -> None:
    """Print the installed adapters, and the models they were made for."""
    found = store().installed()
    if as_json:
        emit_json([_facts(each) for each in found])
        return
    width = max((len(each.name) for each in found), default=0)
    for each in found:
        click.echo(f"{each.name:<{width}}  {_line(each)}")
    if not found:
        say("none; `lanai adapters add FOLDER` installs one")


@adapters.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--name", help="what to call it; default: as it calls itself, or as its folder")
@click.option(
    "--base",
    metavar="MODEL",
    help="the model it is for, whatever its settings call that; default: the device model",
)
@json_option
def add(folder: Path, name: str | None, base: str | None, as_json: bool) -> None:
    """Check the adapter in FOLDER (PEFT's form) against its model, and install it."""
    model = Catalog(Folders.standard().models).find(base or Settings.load().settings.device_model)
    added = store().add(folder.resolve(), model, name=name, named=base is None)
    if as_json:
        emit_json(_facts(added))
        return
    say(f"added {added.name}, for {model.name}")
    if added.manifest is not None and added.manifest.chat_template is not None:
        say("it names a chat form of its own, which counts in a model of `lanai models adapt` only")


@adapters.command("rm")
@click.argument("name")
@json_option
def remove(name: str, as_json: bool) -> None:
    """Delete the installed adapter NAME."""
    store().remove(name)
    if as_json:
        emit_json({"name": name, "removed": True})
    else:
        say(f"removed {name}")


adapters.add_command(train)
adapters.add_command(recover)


def _facts(adapter: InstalledAdapter) -> dict[str, Any]:
    manifest = adapter.manifest
    return {
        "name": adapter.name,
        "kind": manifest.kind if manifest else None,
        "base": manifest.base.name if manifest else None,
        "base_sha256": manifest.base.sha256 if manifest else None,
        "rank": adapter.rank,
        "bytes": manifest.bytes if manifest else None,
        "license": manifest.license if manifest else None,
        "sha256": manifest.sha256 if manifest else None,
        "fault": adapter.fault.value if adapter.fault else None,
        "path": str(adapter.path),
    }


def _line(adapter: InstalledAdapter) -> str:
    manifest = adapter.manifest
    if adapter.fault is not None:
        return f"cannot be used: {adapter.fault.value}"
    if manifest is None:
        return "its base is not known"
    size = f"rank {adapter.rank:3d}  {manifest.bytes / 1e6:5.1f} MB"
    return f"{size}  for {manifest.base.name}  ({manifest.license or 'no license named'})"
