"""``lanai config show``: each value with its origin."""

import click

from lanai.cli.output import emit_json, json_option
from lanai.settings import Settings

__all__ = ["config"]


@click.group()
def config() -> None:
    """Show settings and where each comes from."""


@config.command()
@json_option
def show(as_json: bool) -> None:
    """Print every setting, its value and the layer that set it."""
    loaded = Settings.load()
    values = loaded.settings.model_dump(mode="json")
    if as_json:
        emit_json({k: {"value": v, "origin": loaded.origins[k]} for k, v in values.items()})
        return
    width = max(map(len, values))
    for key, value in values.items():
        click.echo(
            f"{key:<{width}}  {'unset' if value is None else value}  ({loaded.origins[key]})"
        )
