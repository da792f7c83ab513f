"""``lanai models list | pull | show | rm``, and the measuring commands of ``measure``."""

from typing import Any

import click

from inference.catalog import Catalog, CatalogEntry, InstalledModel, superseded
from inference.catalog.entries import load_entries
from inference.cli.adapt import adapt
from inference.cli.bar import progress_bar
from inference.cli.delta import delta
from inference.cli.measure import perplexity, score
from inference.cli.pack import pack
from inference.cli.profile import profile
from inference.cli.refine import refine
from lanai.cli.group import Group
from lanai.cli.output import emit_json, json_option, say
from lanai.errors import ModelNotFound
from lanai.folders import Folders

__all__ = ["models"]

FACTS = ("architecture", "parameters", "bits_per_weight", "bytes", "sha256", "license")


@click.group(cls=Group)
def models() -> None:
    """Pull, inspect and measure models."""


def catalog() -> Catalog:
    return Catalog(Folders.standard().models)


@models.command("list")
@json_option
def list_models(as_json: bool) -> None:
    """Print the models that are installed or can be pulled by name."""
    installed = {model.name: model for model in catalog().installed()}
    rows = [_facts(installed.get(name), load_entries().get(name)) for name in catalog().names()]
    if as_json:
        emit_json(rows)
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        state = "installed" if row["installed"] else "not installed"
        size = f"{row['bytes'] / 1e6:6.0f} MB  {row['bits_per_weight']:5.2f} bits"
        click.echo(f"{row['name']:<{width}}  {size}  {row['license']}  ({state})")


@models.command()
@click.argument("name")
@json_option
def pull(name: str, as_json: bool) -> None:
    """Install NAME: a catalog model, ORGANIZATION/NAME of the hub, a folder or a .gguf file."""
    with progress_bar() as progress:
        model = catalog().pull(name, progress=progress)
    _print(_facts(model, load_entries().get(model.name)), as_json)


@models.command()
@click.argument("name")
@click.option("--verify", is_flag=True, help="hash the weights again")
@json_option
def show(name: str, verify: bool, as_json: bool) -> None:
    """Print what is known of NAME, installed or not."""
    model = _installed(name, verify)
    entry = load_entries().get(name)
    if model is None and entry is None:
        raise ModelNotFound(f"{name} is not installed", hint=f"`lanai models pull {name}`")
    _print(_facts(model, entry), as_json)


@models.command("rm")
@click.argument("name")
@json_option
def remove(name: str, as_json: bool) -> None:
    """Delete the installed model NAME."""
    catalog().remove(name)
    if as_json:
        emit_json({"name": name, "removed": True})
    else:
        say(f"removed {name}")


models.add_command(pack)
models.add_command(refine)
models.add_command(adapt)
models.add_command(delta)
models.add_command(perplexity)
models.add_command(score)
models.add_command(profile)


def _installed(name: str, verify: bool) -> InstalledModel | None:
    try:
        return catalog().verify(name) if verify else catalog().find(name)
    except ModelNotFound:
        if verify or name not in load_entries():
            raise
        return None


def _facts(model: InstalledModel | None, entry: CatalogEntry | None) -> dict[str, Any]:
    """The keys of CONTRACTS and a few more; of the installed model where there is one."""
    known = model or entry
    row: dict[str, Any] = {"name": getattr(known, "name", "")}
    row |= {key: getattr(known, key, None) for key in FACTS}
    row |= {"source": getattr(known, "source", None), "installed": model is not None}
    if model is not None:
        row["path"] = str(model.path)
    if model is not None and entry is not None and superseded(entry.name, model):
        row["note"] = f"the catalog lists other weights now: `lanai models pull {entry.name}`"
    elif entry is not None and entry.note:
        row["note"] = entry.note
    return row


def _print(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        emit_json(row)
        return
    width = max(map(len, row))
    for key, value in row.items():
        shown = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
        click.echo(f"{key:<{width}}  {shown}")
