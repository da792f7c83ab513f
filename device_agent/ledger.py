"""The ledger: what left this device, when, why, how much, and to which verified node. No content,
unless the user had it kept (``ledger_keep_content``): then what left stands in the intent, in the
clear, readable by the user alone, and goes with its entry.

A file of JSON lines, each forced to disk. Every disclosure is two lines: the *intent* before the
first byte leaves, and the *outcome* after. An intent without an outcome means that the process
ended in between: count it as sent. A line cut by power loss is skipped, counted.

If the intent cannot be written, nothing is sent (``LedgerError``). Lines are only ever added, but
for one thing: what is older than ``keep_days`` is dropped with a process's first disclosure, and
with the first of each day that it runs; a line is left that says how many went. The old file stands
until the new one is whole on disk. Age is told by the ledger's own clock (``retention``): a wall
clock that jumps drops nothing.
"""

import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from device_agent.clock_file import ClockFile
from device_agent.disclosure import (
    CLOUD,
    INTENT,
    OUTCOME,
    Disclosure,
    LedgerContents,
    contents,
    line_of,
    without,
)
from device_agent.durable_lines import append_line, replace_file
from device_agent.retention import WallReading, read_clocks
from lanai.content import Content
from lanai.errors import LedgerError
from lanai.folders import Folders, private_folder

__all__ = ["Ledger", "ledger_path"]

log = logging.getLogger(__name__)

DAY_S: Final = 24 * 3600
SECOND_NS: Final = 10**9


def ledger_path(folders: Folders) -> Path:
    """Where this user's ledger is."""
    return folders.state / "ledger.jsonl"


class Ledger:
    """The file is made with the first disclosure. ``keep_days`` ``None``: nothing is dropped."""

    def __init__(
        self,
        path: Path,
        *,
        keep_days: int | None = None,
        keep_content: bool = False,
        clocks: Callable[[], WallReading] = read_clocks,
    ) -> None:
        self.path = path
        self.outcomes_lost = 0
        """Outcomes of this process that could not be written; their intents stand."""
        self._keep_days = keep_days
        self._keep_content = keep_content
        self._clocks = clocks
        self._age = ClockFile(path.with_suffix(".clock"))
        self._looked: float | None = None
        """When this process last looked for what is old, by the ledger's own clock."""

    def intend(
        self,
        *,
        id: str,
        reason: str,
        mode: str,
        data_class: str,
        destination: str = CLOUD,
        endpoint: str | None = None,
        content: Sequence[Content] = (),
    ) -> Disclosure:
        """Write down, durably, that a request is about to leave. Raises ``LedgerError``.

        ``content``, what leaves, is forgotten here unless the ledger keeps it.
        """
        reading = self._clocks()
        disclosure = Disclosure(
            id=id,
            time=_seconds(reading),
            reason=reason,
            mode=mode,
            data_class=data_class,
            destination=destination,
            endpoint=endpoint,
            content=tuple(content) if self._keep_content else None,
        )
        with self._writing():
            disclosure = replace(disclosure, stored=self._stored(reading))
            append_line(self.path, line_of(INTENT, disclosure))
        self._drop_old(disclosure.aged_from)
        return disclosure

    def conclude(self, disclosure: Disclosure, outcome: str, **details: Any) -> Disclosure:
        """Write down how it ended; ``details`` are fields of ``Disclosure``.

        Raises ``LedgerError``, and counts it: the intent alone means that it may have been sent.
        """
        now = _seconds(self._clocks())
        ended = replace(disclosure, outcome=outcome, ended=now, content=None, **details)
        try:
            with self._writing():
                append_line(self.path, line_of(OUTCOME, ended))
        except LedgerError:
            self.outcomes_lost += 1
            raise
        return ended

    def disclosures(self) -> tuple[Disclosure, ...]:
        """Every disclosure in order of intent, with its outcome where there is one."""
        return self.read().disclosures

    def read(self) -> LedgerContents:
        """All of it. Raises ``LedgerError`` for a file that cannot be read."""
        return contents(self._lines())

    def clock_jumps(self) -> int:
        """How often the wall clock jumped, as far as the ledger saw. Raises ``LedgerError``."""
        try:
            return self._age.jumps()
        except OSError as error:
            raise _failed("read", error) from None

    def prune(self, *, before: float) -> int:
        """Drop what was written before that time, by the ledger's own clock; return how many went.

        Raises ``LedgerError``. Damaged lines stay: nobody knows how old they are.
        """
        try:
            with self._locked():
                return self._rewrite(before)
        except OSError as error:
            raise _failed("prune", error) from None

    def _rewrite(self, before: float) -> int:
        lines = self._lines()
        found = contents(lines)
        old = frozenset(each.id for each in found.disclosures if each.aged_from < before)
        if not old:
            return 0
        left = without(old, lines, pruned=found.pruned + len(old), now=_seconds(self._clocks()))
        replace_file(self.path, b"".join(line + b"\n" for line in left))
        return len(old)

    def _drop_old(self, now: float) -> None:
        """Once a day: all of the file is read. What cannot be dropped costs no request."""
        if self._keep_days is None or (self._looked is not None and now < self._looked + DAY_S):
            return
        self._looked = now
        try:
            self.prune(before=now - self._keep_days * DAY_S)
        except LedgerError as error:
            log.warning("old disclosures were not dropped: %s", error.message)

    def _lines(self) -> list[bytes]:
        try:
            return self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _failed("read", error) from None

    def _stored(self, reading: WallReading) -> float:
        """By the ledger's own clock, which goes on by ``reading``; it begins at the newest line."""

        def newest() -> int | None:
            stored = (each.aged_from for each in contents(self._lines()).disclosures)
            past = [when for when in stored if when <= _seconds(reading)]
            return int(max(past) * SECOND_NS) if past else None

        return self._age.gone_on(reading, newest) / SECOND_NS

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Raises ``LedgerError``."""
        try:
            private_folder(self.path.parent)
            with self._locked():
                yield
        except OSError as error:
            raise _failed("write", error) from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, among processes too. Its own file: the ledger is replaced."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        handle = os.open(self.path.with_suffix(".lock"), flags, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _seconds(reading: WallReading) -> float:
    return reading.wall_ns / SECOND_NS


def _failed(what: str, error: OSError) -> LedgerError:
    return LedgerError(
        f"cannot {what} the ledger: {error.strerror or error}",
        hint="nothing is sent without it; `lanai doctor` shows the folder",
    )
