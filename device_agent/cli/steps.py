"""A bar on stderr for work in steps, when that is a terminal; nothing otherwise."""

import contextlib
import sys
from collections.abc import Callable, Iterator

__all__ = ["step_bar"]


@contextlib.contextmanager
def step_bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """Gives a function of steps done and steps in all."""
    if not sys.stderr.isatty():
        yield _silent
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(name, total=None)

        def moved(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        yield moved


def _silent(done: int, total: int) -> None:
    """Nobody watches."""
