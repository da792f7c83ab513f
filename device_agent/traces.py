"""The local trace store: spans and decisions of past requests, in one SQLite file. No content.

One transaction per request, write-ahead log, synchronous writes: after ``kill -9`` or power loss
the store opens and holds every request whose ``save`` returned. A file of a newer version, or no
database at all, is a ``TraceError`` and is left untouched (``trace_schema``). Which requests are
old is told by the store's own clock (``retention``), never by when a span says that it began.
"""

import json
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from device_agent.retention import ReckonedClock, WallReading
from device_agent.trace_records import (
    SpanRecord,
    TraceRecord,
    read_span,
    read_trace,
    span_row,
)
from device_agent.trace_schema import prepare
from lanai.errors import TraceError
from lanai.folders import Folders, private_folder

__all__ = ["SpanRecord", "TraceRecord", "TraceStore", "traces_path"]

KEEP_TRACES = 10_000


def traces_path(folders: Folders) -> Path:
    """Where this user's traces are."""
    return folders.state / "traces.sqlite"


class TraceStore:
    """Open with ``TraceStore.open``. Methods may be called from any thread."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path) -> "TraceStore":
        """Open or create the store. Raises ``TraceError``; never repairs or replaces a file."""
        try:
            private_folder(path.parent)
            path.touch(mode=0o600)
            connection = sqlite3.connect(path, timeout=5.0, check_same_thread=False)
            try:
                prepare(connection, path)
            except BaseException:
                connection.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise _failed("open", path, error) from None
        return cls(connection, path)

    def save(
        self,
        spans: Sequence[SpanRecord],
        *,
        error: str | None = None,
        decision: Mapping[str, Any] | None = None,
        keep: int = KEEP_TRACES,
        reading: WallReading | None = None,
    ) -> int:
        """Write one request whole, and drop all but the newest ``keep``.

        Return when that was by the store's own clock, which goes on by ``reading``; without one the
        moment is the request's start.
        """
        root = next(span for span in spans if span.parent_id is None)
        row = (
            root.trace_id,
            root.start_ns,
            root.end_ns - root.start_ns,
            len(spans),
            error,
            None if decision is None else json.dumps(decision, allow_nan=False),
        )
        with self._transaction("write") as connection:
            stored_ns = root.start_ns if reading is None else _gone_on(connection, reading)
            connection.execute("INSERT INTO traces VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, stored_ns))
            connection.executemany(
                "INSERT INTO spans VALUES (?, ?, ?, ?, ?, ?, ?)", map(span_row, spans)
            )
            _prune(connection, keep)
        return stored_ns

    def amend(self, trace_id: str, decision: Mapping[str, Any]) -> None:
        """Put another record in the place of a request's decision. Whole ids only."""
        row = (json.dumps(decision, allow_nan=False), trace_id)
        with self._transaction("write") as connection:
            connection.execute("UPDATE traces SET decision = ? WHERE trace_id = ?", row)

    def prune(self, keep: int = KEEP_TRACES, *, before_ns: int = 0) -> int:
        """Drop all but the newest ``keep`` requests, and those stored before ``before_ns`` by the
        store's own clock; return how many went."""
        with self._transaction("prune") as connection:
            return _prune(connection, keep) + _prune_before(connection, before_ns)

    def traces(self, limit: int = 20, *, since_ns: int = 0) -> tuple[TraceRecord, ...]:
        """The newest first; stored at ``since_ns`` or later by the store's own clock."""
        order = "stored_ns DESC, started_ns DESC"
        with self._transaction("read") as connection:
            rows = connection.execute(
                f"SELECT * FROM traces WHERE stored_ns >= ? ORDER BY {order} LIMIT ?",  # noqa: S608  constants
                (since_ns, limit),
            ).fetchall()
        return tuple(map(read_trace, rows))

    def now_ns(self, reading: WallReading) -> int:
        """The store's own clock at ``reading``; nothing is written down."""
        with self._transaction("read") as connection:
            return _resumed(connection, reading).now_ns

    def find(self, trace_id: str) -> TraceRecord:
        """By id or a prefix that names one trace. Raises ``TraceError``."""
        with self._transaction("read") as connection:
            rows = connection.execute(
                "SELECT * FROM traces WHERE substr(trace_id, 1, ?) = ? LIMIT 2",
                (len(trace_id), trace_id),
            ).fetchall()
        if len(rows) != 1 or not trace_id:
            what = "no trace has this id" if not rows else "more than one trace starts so"
            raise TraceError(what, hint="`lanai trace list` shows the ids")
        return read_trace(rows[0])

    def spans(self, trace_id: str) -> tuple[SpanRecord, ...]:
        """Every step of one request (id or prefix), by start time. Raises ``TraceError``."""
        found = self.find(trace_id).trace_id
        with self._transaction("read") as connection:
            rows = connection.execute(
                "SELECT * FROM spans WHERE trace_id = ? ORDER BY start_ns, end_ns DESC", (found,)
            ).fetchall()
        return tuple(map(read_span, rows))

    def decision(self, trace_id: str) -> Mapping[str, Any]:
        """The router's record of one request (id or prefix). Raises ``TraceError``."""
        decision = self.find(trace_id).decision
        if decision is None:
            raise TraceError(
                "this request ended before a decision", hint="`lanai trace show ID` says how"
            )
        return decision

    def sound(self) -> tuple[bool, str]:
        """SQLite's own check of the file, and what it said. Raises ``TraceError``."""
        with self._transaction("check") as connection:
            said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            count = connection.execute("SELECT count(*) FROM traces").fetchone()[0]
            clock = _clock(connection)
        if said != "ok":
            return False, "damaged"
        jumps = clock.jumps if clock else 0
        return True, f"{count} traces" + (f", the clock jumped (times: {jumps})" if jumps else "")

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _transaction(self, what: str) -> "_Transaction":
        return _Transaction(self._connection, self._lock, self.path, what)


class _Transaction:
    """One locked transaction; SQLite's errors leave as ``TraceError``."""

    def __init__(
        self, connection: sqlite3.Connection, lock: threading.Lock, path: Path, what: str
    ) -> None:
        self._connection, self._lock, self._path, self._what = connection, lock, path, what

    def __enter__(self) -> sqlite3.Connection:
        self._lock.acquire()
        return self._connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        try:
            if kind is None:
                self._connection.commit()
            else:
                self._connection.rollback()
        except sqlite3.Error as fault:
            error = fault
        finally:
            self._lock.release()
        if isinstance(error, sqlite3.Error):
            raise _failed(self._what, self._path, error) from None


def _clock(connection: sqlite3.Connection) -> ReckonedClock | None:
    row = connection.execute("SELECT state FROM clock").fetchone()
    return None if row is None else ReckonedClock.from_json(row[0])


def _gone_on(connection: sqlite3.Connection, reading: WallReading) -> int:
    """The store's clock after ``reading``, written down. It begins at the newest trace."""
    connection.execute("BEGIN IMMEDIATE")  # before it is read: another process may store, too
    clock = _resumed(connection, reading)
    connection.execute("INSERT OR REPLACE INTO clock VALUES (1, ?)", (clock.to_json(),))
    return clock.now_ns


def _resumed(connection: sqlite3.Connection, reading: WallReading) -> ReckonedClock:
    def newest() -> int | None:
        sql = "SELECT max(stored_ns) FROM traces WHERE stored_ns <= ?"
        stored_ns: int | None = connection.execute(sql, (reading.wall_ns,)).fetchone()[0]
        return stored_ns

    return ReckonedClock.resumed(_clock(connection), newest, reading)


def _prune(connection: sqlite3.Connection, keep: int) -> int:
    order = "stored_ns DESC, started_ns DESC"
    old = f"SELECT trace_id FROM traces ORDER BY {order} LIMIT -1 OFFSET ?"  # noqa: S608  constants
    connection.execute(f"DELETE FROM spans WHERE trace_id IN ({old})", (keep,))  # noqa: S608  constants
    return connection.execute(f"DELETE FROM traces WHERE trace_id IN ({old})", (keep,)).rowcount  # noqa: S608


def _prune_before(connection: sqlite3.Connection, before_ns: int) -> int:
    old = "SELECT trace_id FROM traces WHERE stored_ns < ?"
    connection.execute(f"DELETE FROM spans WHERE trace_id IN ({old})", (before_ns,))  # noqa: S608  constants
    return connection.execute("DELETE FROM traces WHERE stored_ns < ?", (before_ns,)).rowcount


def _failed(what: str, path: Path, error: Exception) -> TraceError:
    # sqlite3 and OS messages name files and codes, never row values.
    return TraceError(
        f"cannot {what} the trace store: {error}", hint=f"see `lanai doctor`; the file is {path}"
    )
