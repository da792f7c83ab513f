"""The options of commands that answer: where it may run, of which class its data are, how long."""

from collections.abc import Callable
from typing import Final, TypeVar

import click

__all__ = ["answer_options", "mode_option"]

F = TypeVar("F", bound=Callable[..., object])

MODES: Final = ("auto", "prefer_on_device", "only_on_device", "prefer_in_cloud", "only_in_cloud")
DATA_CLASSES: Final = ("public", "personal", "secret")


def mode_option(what: str) -> Callable[[F], F]:
    """``--mode``. The choices stand in the help: as a column they are wider than a terminal."""
    return click.option(
        "--mode", type=click.Choice(MODES), metavar="MODE", help=f"{what}: {', '.join(MODES)}"
    )


def answer_options(command: F) -> F:
    """What `lanai respond` and `lanai chat` share."""
    for option in reversed(_ANSWER):  # the first that is applied would be listed last
        command = option(command)
    return command


_ANSWER: Final = (
    mode_option("where it may run"),
    click.option(
        "--data-class",
        type=click.Choice(DATA_CLASSES),
        metavar="CLASS",
        default="personal",
        show_default=True,
        help=f"{', '.join(DATA_CLASSES)}; what is secret never leaves the device",
    ),
    click.option(
        "--model", metavar="NAME", help="the device's: catalog name, folder or GGUF [device_model]"
    ),
    click.option("--system", metavar="TEXT", help="instructions for the model"),
    click.option("--max-tokens", type=int, help="length of the answer at most"),
    click.option("--temperature", type=float, default=0.0, show_default=True),
    click.option("--seed", type=int, help="for a temperature above 0"),
    click.option(
        "--adapter", metavar="NAME", help="one of `lanai adapters list`; the device answers"
    ),
)
