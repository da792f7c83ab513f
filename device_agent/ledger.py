"""The ledger: what left this device, when, why, how much, and to which verified node. No content,
unless the user had it kept (``ledger_keep_content``): then what left stands in the intent, in the
clear, readable by the user alone, and goes with its entry.

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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from device_agent.durable_lines import append_line, replace_file
from lanai.content import Content
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
    content: tuple[Content, ...] | None = field(default=None, repr=False)
    """What left, message by message; only where the user had it kept."""

    def to_json_dict(self, *, content: bool = False) -> dict[str, Any]:
        """Without what was said, unless it is asked for."""
        document = asdict(self) | {"nodes": list(self.nodes)}
        told = document.pop("content")
        return document | ({"content": list(told)} if content and told is not None else {})


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
        keep_content: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.outcomes_lost = 0
        """Outcomes of this process that could not be written; their intents stand."""
        self._keep_days = keep_days
        self._keep_content = keep_content
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
        content: Sequence[Content] = (),
    ) -> Disclosure:
        """Write down, durably, that a request is about to leave. Raises ``LedgerError``.

        ``content``, what leaves, is forgotten here unless the ledger keeps it.
        """
        disclosure = Disclosure(
            id=id,
            time=self._clock(),
            reason=reason,
            mode=mode,
            data_class=data_class,
            destination=destination,
            endpoint=endpoint,
            content=tuple(content) if self._keep_content else None,
        )
        self._append(INTENT, disclosure)
        self._drop_old(disclosure.time)
        return disclosure

    def conclude(self, disclosure: Disclosure, outcome: str, **details: Any) -> Disclosure:
        """Write down how it ended; ``details`` are fields of ``Disclosure``.

        Raises ``LedgerError``, and counts it: the intent alone means that it may have been sent.
        """
        ended = replace(disclosure, outcome=outcome, ended=self._clock(), content=None, **details)
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
        replace_file(self.path, whole)
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
        record = disclosure.to_json_dict(content=True)
        line = json.dumps({"kind": kind} | record, allow_nan=False)
        try:
            private_folder(self.path.parent)
            with self._locked():
                append_line(self.path, line.encode())
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
        if (before := found.get(disclosure.id)) is not None:  # what left stands in the intent
            disclosure = replace(disclosure, content=before.content)
        found[disclosure.id] = disclosure
    return LedgerContents(disclosures=tuple(found.values()), damaged=damaged, pruned=pruned)


def _parse(line: bytes) -> Disclosure:
    record = json.loads(line)
    if not isinstance(record, dict) or record.pop("kind", None) not in (INTENT, OUTCOME):
        raise ValueError("not a ledger line")
    content = record.get("content")
    told = None if content is None else tuple(Content(str(each)) for each in content)
    return Disclosure(**record | {"nodes": tuple(record.get("nodes", ())), "content": told})


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
