"""Finds commands by entry point and turns errors into one line, a hint and an exit code."""

import os
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click
from click.exceptions import NoSuchCommand

from lanai import __version__
from lanai.cli.group import Group
from lanai.cli.output import complain
from lanai.errors import LanaiError

__all__ = ["main"]

GROUP = "lanai.commands"
# A missing module of ours is a bug; any other missing module is an extra to install.
OWN = frozenset(
    {
        "lanai",
        "protos",
        "trust",
        "inference",
        "router",
        "device_agent",
        "cloud_node",
        "bench",
    }
)


class Mounted(Group):
    """A group whose members are loaded when named, so that one command imports one package."""

    entries = GROUP
    """Name of the entry points that are its members."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_registered(self.entries))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        entry = _registered(self.entries).get(name)
        return _load(entry) if entry else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Raises ``NoSuchCommand`` with the names that are near."""
        try:
            return super().resolve_command(ctx, args)
        except NoSuchCommand as error:  # click knows of no members that are not loaded
            names = self.list_commands(ctx)
            raise NoSuchCommand(error.command_name, possibilities=names, ctx=ctx) from None


def _registered(group: str = GROUP) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}


def _load(entry: EntryPoint) -> click.Command:
    try:
        command = entry.load()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in OWN:
            raise
        return _absent(entry.name, error.name or "?")
    if not isinstance(command, click.Command):
        raise TypeError(f"entry point {entry.name} is no command")
    return command


def _absent(name: str, module: str) -> click.Command:
    """A command whose extra is not installed: it says what to install, and fails."""

    @click.command(name, short_help=f"not installed (needs {module})")
    def absent() -> None:
        raise LanaiError(
            f"`lanai {name}` needs the module {module}",
            hint="pip install 'lanai[cloud]'",
        )

    return absent


@click.group(cls=Mounted, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lanai")
def root() -> None:
    """Language models on the device first, in an attested private cloud when it helps."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    # gRPC's C core writes its own lines about refused handshakes; ours say it once, with a hint.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        outcome: Any = root.main(args=arguments, prog_name="lanai", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort:
        complain("stopped")
        return 1
    except click.UsageError as error:
        context = error.ctx.command_path if error.ctx else "lanai"
        complain(error.format_message().rstrip(".").lower(), hint=f"{context} --help")
        return 2
    except click.ClickException as error:
        complain(error.format_message())
        return error.exit_code
    except LanaiError as error:
        complain(error.message, hint=error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        complain("stopped")
        return 1
    except BrokenPipeError:
        return 1
    return outcome if isinstance(outcome, int) else 0
