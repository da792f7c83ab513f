"""Progress: a bar on stderr when that is a terminal, nothing otherwise."""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from inference.catalog import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

__all__ = ["progress_bar"]


@contextlib.contextmanager
def progress_bar(*, of_bytes: bool = True) -> Iterator[Progress | None]:
    """A ``Progress`` that draws, or ``None``. Counts bytes, or steps of any kind."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bars

    counted = (DownloadColumn(), TransferSpeedColumn())
    steps = (MofNCompleteColumn(), TimeElapsedColumn())
    columns = (TextColumn("{task.description:<8}"), BarColumn(), *(counted if of_bytes else steps))
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _Drawn(bars)


class _Drawn:
    """One line for each step, started anew when the step begins again."""

    def __init__(self, bars: "Bars") -> None:
        self._bars = bars
        self._step = ""
        self._done = 0
        self._task: TaskID | None = None

    def __call__(self, step: str, done: int, total: int) -> None:
        if self._task is None or step != self._step or done < self._done:
            self._task = self._bars.add_task(step, total=total or None)
        self._step, self._done = step, done
        self._bars.update(self._task, completed=done)
