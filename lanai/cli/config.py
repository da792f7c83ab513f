"""``lanai config show``: each value with its origin."""

from typing import Any

import click

from lanai.cli.group import Group
from lanai.cli.output import emit_json, json_option, say
from lanai.folders import Folders
from lanai.settings import Settings

__all__ = ["config"]


@click.group(cls=Group)
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
        click.echo(f"{key:<{width}}  {_word(value)}  ({loaded.origins[key]})")
    say("set them in these files, of which the first wins")
    for path in Settings.files(Folders.standard()):
        say(f"  {path}{'' if path.is_file() else '  (not there)'}")


def _word(value: Any) -> str:
    """As one would write it, without the quotes."""
    if value is None or value == []:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
