"""What `--help` prints, read in a narrow terminal."""

from collections.abc import Iterator

import click
import pytest

from lanai.cli.mount import root


def helps(command: click.Command, path: str, width: int) -> Iterator[tuple[str, str]]:
    """Of the command and all below it."""
    context = click.Context(command, info_name=path, terminal_width=width, max_content_width=width)
    yield path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from helps(below, f"{path} {name}", width)


@pytest.mark.parametrize("width", [60, 80])
def test_no_help_is_wider_than_the_terminal_nor_cut(width: int) -> None:
    """Every line fits; no command's sentence ends in dots in the list above it."""
    for path, text in helps(root, "lanai", width):
        wide = [line for line in text.splitlines() if len(line) > width]
        assert wide == [], path
        assert "..." not in text.replace("[ARGS]...", "").replace("]...", ""), path
