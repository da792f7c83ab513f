"""The ledger: what left this device, when, why, how much, and to which verified node. No content.

A file of JSON lines, each forced to disk. Every disclosure is two lines: the *intent* before the
first byte leaves, and the *outcome* after. An intent without an outcome means that the process
ended in between: count it as sent. A line cut by power loss is skipped, counted.

If the intent cannot be written, nothing is sent (``LedgerError``). Lines are only ever added, but
for one thing: what is older than ``keep_days`` is dropped with a process's first disclosure, and a
line is left that says how many went. The old file stands until the new one is whole on disk.
"""

import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lanai.errors import LedgerError
from lanai.folders import Folders, private_folder

__all__ = ["CLOUD", "EXTERNAL", "Disclosure", "Ledger", "LedgerContents", "ledger_path"]

log = logging.getLogger(__name__)

INTENT, OUTCOME, PRUNED = "intent", "outcome", "pruned"
CLOUD, EXTERNAL = "cloud", "external"
DAY_S = 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """One request that left, or may have left, the device. Times are seconds since 1970.

    ``outcome`` is ``answered``, an error's class name, ``cancelled``, or ``None`` while unknown.
    """

    id: str
    time: float
    reason: str
    mode: str
    data_class: str
    outcome: str | None = None
    ended: float | None = None
    bytes_sent: int | None = None
    bytes_received: int | None = None
    nodes: tuple[str, ...] = ()
    """Ids of the verified nodes the request was sealed to."""
    node: str | None = None
    """The one that answered."""
    measurement: str | None = None
    evidence: str | None = None
    log_checkpoint: str | None = None
    destination: str = CLOUD
    """Or ``external``: readable by whoever runs the endpoint."""
    endpoint: str | None = None

    def to_json_dict(self) -> dict[str, Any]:
        return asdict(self) | {"nodes": list(self.nodes)}


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerContents:
    """``disclosures`` in order of intent, each with its outcome where there is one.

    ``damaged`` lines were skipped; ``pruned`` disclosures were dropped for their age.
    """

    disclosures: tuple[Disclosure, ...] = ()
    damaged: int = 0
    pruned: int = 0


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
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.outcomes_lost = 0
        """Outcomes of this process that could not be written; their intents stand."""
        self._keep_days = keep_days
        self._clock = clock
        self._looked = False

    def intend(
        self,
        *,
        id: str,
        reason: str,
        mode: str,
        data_class: str,
        destination: str = CLOUD,
        endpoint: str | None = None,
    ) -> Disclosure:
        """Write down, durably, that a request is about to leave. Raises ``LedgerError``."""
        disclosure = Disclosure(
            id=id,
            time=self._clock(),
            reason=reason,
            mode=mode,
            data_class=data_class,
            destination=destination,
            endpoint=endpoint,
        )
        self._append(INTENT, disclosure)
        self._drop_old(disclosure.time)
        return disclosure

    def conclude(self, disclosure: Disclosure, outcome: str, **details: Any) -> Disclosure:
        """Write down how it ended; ``details`` are fields of ``Disclosure``.

        Raises ``LedgerError``, and counts it: the intent alone means that it may have been sent.
        """
        ended = replace(disclosure, outcome=outcome, ended=self._clock(), **details)
        try:
            self._append(OUTCOME, ended)
        except LedgerError:
            self.outcomes_lost += 1
            raise
        return ended

    def disclosures(self) -> tuple[Disclosure, ...]:
        """Every disclosure in order of intent, with its outcome where there is one."""
        return self.read().disclosures

    def read(self) -> LedgerContents:
        """All of it. Raises ``LedgerError`` for a file that cannot be read."""
        return _contents(self._lines())

    def prune(self, *, before: float) -> int:
        """Drop what was disclosed before that time; return how many went. Raises ``LedgerError``.

        Damaged lines stay: nobody knows how old they are.
        """
        try:
            with self._locked():
                return self._rewrite(before)
        except OSError as error:
            raise _failed("prune", error) from None

    def _rewrite(self, before: float) -> int:
        lines = self._lines()
        found = _contents(lines)
        old = {each.id for each in found.disclosures if each.time < before}
        if not old:
            return 0
        marker = {"kind": PRUNED, "time": self._clock(), "count": found.pruned + len(old)}
        kept = [line for line in lines if _id(line) not in old and not _is_marker(line)]
        whole = b"".join(line + b"\n" for line in (json.dumps(marker).encode(), *kept))
        _replace(self.path, whole)
        return len(old)

    def _drop_old(self, now: float) -> None:
        """Once in a process. What cannot be dropped costs no request."""
        if self._looked or self._keep_days is None:
            return
        self._looked = True
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

    def _append(self, kind: str, disclosure: Disclosure) -> None:
        line = json.dumps({"kind": kind} | disclosure.to_json_dict(), allow_nan=False)
        try:
            private_folder(self.path.parent)
            with self._locked():
                _append_line(self.path, line.encode())
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


def _append_line(path: Path, line: bytes) -> None:
    fresh = not path.exists()
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = os.lseek(handle, 0, os.SEEK_END)
        # A predecessor cut by power loss left no newline: start a line of our own.
        cut = end > 0 and os.pread(handle, 1, end - 1) != b"\n"
        _write(handle, (b"\n" if cut else b"") + line + b"\n")
    finally:
        os.close(handle)
    if fresh:
        _sync_folder(path.parent)


def _replace(path: Path, whole: bytes) -> None:
    """The new file is on disk before it takes the old one's name."""
    new = path.with_suffix(".new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write(handle, whole)
    finally:
        os.close(handle)
    new.replace(path)
    _sync_folder(path.parent)


def _write(handle: int, whole: bytes) -> None:
    if os.write(handle, whole) != len(whole):
        raise OSError("short write")
    os.fsync(handle)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _contents(lines: list[bytes]) -> LedgerContents:
    found: dict[str, Disclosure] = {}
    damaged = pruned = 0
    for line in lines:
        try:
            if _is_marker(line):
                pruned += int(json.loads(line)["count"])
                continue
            disclosure = _parse(line)
        except (ValueError, TypeError, KeyError):
            damaged += 1
            continue
        found[disclosure.id] = disclosure
    return LedgerContents(disclosures=tuple(found.values()), damaged=damaged, pruned=pruned)


def _parse(line: bytes) -> Disclosure:
    record = json.loads(line)
    if not isinstance(record, dict) or record.pop("kind", None) not in (INTENT, OUTCOME):
        raise ValueError("not a ledger line")
    return Disclosure(**record | {"nodes": tuple(record.get("nodes", ()))})


def _id(line: bytes) -> str | None:
    try:
        return _parse(line).id
    except (ValueError, TypeError):
        return None


def _is_marker(line: bytes) -> bool:
    return line.startswith(b'{"kind": "pruned"')


def _failed(what: str, error: OSError) -> LedgerError:
    return LedgerError(
        f"cannot {what} the ledger: {error.strerror or error}",
        hint="nothing is sent without it; `lanai doctor` shows the folder",
    )
