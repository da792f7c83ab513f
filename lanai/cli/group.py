"""Groups of commands whose list says what each does in a whole sentence, however long."""

from typing import Final

import click

__all__ = ["Group"]

LONGEST: Final = 400
"""Characters of a command's first sentence; lines wrap, so that none is cut."""


class Group(click.Group):
    """As click's own, which cuts the sentence at the end of one line."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                rows.append((name, command.get_short_help_str(limit=LONGEST)))
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)
