"""The options by which routing commands read per-question results, and the rows they leave out."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from lanai.cli.output import say
from lanai.errors import UsageError

if TYPE_CHECKING:
    from router.results import Results

__all__ = ["given_results", "results_options"]

P = ParamSpec("P")
R = TypeVar("R")

LISTED = "*contaminated_ids.csv"
"""Beside results a publisher may put ids of rows that leaked into training; they never count."""

_file = click.Path(exists=True, dir_okay=False, path_type=Path)


def results_options(command: Callable[P, R]) -> Callable[P, R]:
    """``--data``, ``--train``, ``--group`` and ``--exclude``."""
    options = (
        click.option("--data", type=_file, required=True, help="results to judge, CSV"),
        click.option("--train", type=_file, help="results to learn from (default: the others)"),
        click.option(
            "--group", type=click.Choice(["subject"]), help="split and resample by this column"
        ),
        click.option(
            "--exclude",
            type=_file,
            help="ids to leave out (default: contaminated_ids.csv beside the data)",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def given_results(path: Path, exclude: Path | None) -> "Results":
    """The rows that count. Raises ``UsageError`` when none is left."""
    from router.results import read_ids, read_results

    results = read_results(path)
    lists = [exclude] if exclude is not None else sorted(path.parent.glob(LISTED))
    listed = frozenset[str]().union(*map(read_ids, lists))
    kept = results.without_ids(listed)
    if dropped := len(results) - len(kept):
        say(f"{path.name}: {dropped} contaminated rows left out")
    if not len(kept):
        raise UsageError(f"{path} holds no row that counts")
    return kept
