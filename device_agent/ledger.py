"""The ledger: what left this device, when, why, how much, and to which verified node. No content.

A file of JSON lines that only grows, each line forced to disk. Every disclosure is two lines: the
*intent* before the first byte leaves, and the *outcome* after. An intent without an outcome means
that the process ended in between: count it as sent. A line cut by power loss is skipped, counted.

If the intent cannot be written, nothing is sent (``LedgerError``).
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lanai.errors import LedgerError
from lanai.folders import Folders, private_folder

__all__ = ["Disclosure", "Ledger", "ledger_path"]

INTENT, OUTCOME = "intent", "outcome"


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

    def to_json_dict(self) -> dict[str, Any]:
        return asdict(self) | {"nodes": list(self.nodes)}


def ledger_path(folders: Folders) -> Path:
    """Where this user's ledger is."""
    return folders.state / "ledger.jsonl"


class Ledger:
    """Append-only. The file is made with the first disclosure."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock

    def intend(self, *, id: str, reason: str, mode: str, data_class: str) -> Disclosure:
        """Write down, durably, that a request is about to leave. Raises ``LedgerError``."""
        disclosure = Disclosure(
            id=id, time=self._clock(), reason=reason, mode=mode, data_class=data_class
        )
        self._append(INTENT, disclosure)
        return disclosure

    def conclude(self, disclosure: Disclosure, outcome: str, **details: Any) -> Disclosure:
        """Write down how it ended; ``details`` are fields of ``Disclosure``."""
        ended = replace(disclosure, outcome=outcome, ended=self._clock(), **details)
        self._append(OUTCOME, ended)
        return ended

    def disclosures(self) -> tuple[Disclosure, ...]:
        """Every disclosure in order of intent, with its outcome where there is one."""
        return self.read()[0]

    def read(self) -> tuple[tuple[Disclosure, ...], int]:
        """The disclosures, and the number of damaged lines that were skipped."""
        found: dict[str, Disclosure] = {}
        damaged = 0
        for line in self._lines():
            try:
                disclosure = _parse(line)
            except (ValueError, TypeError):
                damaged += 1
                continue
            found[disclosure.id] = disclosure
        return tuple(found.values()), damaged

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
            fresh = not self.path.exists()
            handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                _write_line(handle, line.encode())
            finally:
                os.close(handle)
            if fresh:
                _sync_folder(self.path.parent)
        except OSError as error:
            raise _failed("write", error) from None


def _write_line(handle: int, line: bytes) -> None:
    """One write, so that two processes cannot mix their lines; then force it to disk."""
    end = os.lseek(handle, 0, os.SEEK_END)
    # A predecessor cut by power loss left no newline: start a line of our own.
    cut = end > 0 and os.pread(handle, 1, end - 1) != b"\n"
    whole = (b"\n" if cut else b"") + line + b"\n"
    if os.write(handle, whole) != len(whole):
        raise OSError("short write")
    os.fsync(handle)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _parse(line: bytes) -> Disclosure:
    record = json.loads(line)
    if not isinstance(record, dict) or record.pop("kind", None) not in (INTENT, OUTCOME):
        raise ValueError("not a ledger line")
    return Disclosure(**record | {"nodes": tuple(record.get("nodes", ()))})


def _failed(what: str, error: OSError) -> LedgerError:
    return LedgerError(
        f"cannot {what} the ledger: {error.strerror or error}",
        hint="nothing is sent without it; `lanai doctor` shows the folder",
    )
