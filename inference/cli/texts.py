"""Options of the texts that `recover` and `refine` learn from, and those texts."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from inference.catalog import InstalledModel
from inference.cli.adapter_making import found
from lanai.cli.output import say

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["texts", "texts_of"]

NAMES: Final = ("sequences", "length", "written", "writer")


def texts(command: Callable[..., None]) -> Callable[..., None]:
    """The options; ``texts_of`` takes them out of what was chosen."""
    for option in reversed(_OPTIONS):  # the first that is applied would be listed last
        command = option(command)
    return command


def texts_of(source: InstalledModel, chosen: dict[str, Any]) -> "Tensor":
    """int64, (sequences, length). Call it after ``prepare_torch``. Raises ``UsageError``."""
    from inference.training.sequences import sequences_of

    count, length, written, writer = (chosen.pop(name) for name in NAMES)
    path = None if writer is None else found(writer).path
    return sequences_of(source.path, written, count, length, chosen["seed"], writer=path, say=say)


_OPTIONS: Final = (
    click.option(
        "--sequences",
        type=click.IntRange(4),
        default=256,
        show_default=True,
        help="how many texts are written",
    ),
    click.option(
        "--length",
        type=click.IntRange(8),
        default=512,
        show_default=True,
        help="tokens of each text",
    ),
    click.option(
        "--written",
        type=click.Path(path_type=Path, dir_okay=False),
        help=".npy file to keep the texts in, or to take them from",
    ),
    click.option(
        "--writer",
        help="model of the same tokens to write them, if not the source: "
        "packed with its own codes it is faster",
    ),
)
