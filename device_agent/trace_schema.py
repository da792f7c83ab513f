"""The tables of the trace store, and the steps from an older version's to these.

A step and the version it leads to are one transaction: a crash leaves either one whole.
"""

import sqlite3
from pathlib import Path
from typing import Final

from lanai.errors import TraceError

__all__ = ["SCHEMA_VERSION", "prepare"]

FIRST: Final = (
    """CREATE TABLE IF NOT EXISTS traces (
        trace_id TEXT PRIMARY KEY, started_ns INTEGER NOT NULL, duration_ns INTEGER NOT NULL,
        spans INTEGER NOT NULL, error TEXT, decision TEXT
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS traces_by_start ON traces (started_ns)",
    """CREATE TABLE IF NOT EXISTS spans (
        trace_id TEXT NOT NULL, span_id TEXT NOT NULL, parent_id TEXT, name TEXT NOT NULL,
        start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL, attributes TEXT NOT NULL,
        PRIMARY KEY (trace_id, span_id)
    ) WITHOUT ROWID""",
)
SECOND: Final = (  # a clock of the store's own, see ``retention``
    "ALTER TABLE traces ADD COLUMN stored_ns INTEGER NOT NULL DEFAULT 0",
    "UPDATE traces SET stored_ns = started_ns",
    "DROP INDEX traces_by_start",
    "CREATE INDEX traces_by_age ON traces (stored_ns, started_ns)",
    "CREATE TABLE clock (one INTEGER PRIMARY KEY CHECK (one = 1), state TEXT NOT NULL)",
)
STEPS: Final = (FIRST, SECOND)
SCHEMA_VERSION: Final = len(STEPS)


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Raises ``TraceError`` for a newer version, and what sqlite3 raises."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    version = _version(connection)
    if version > SCHEMA_VERSION:
        raise TraceError(
            f"{path.name} was written by a newer version (schema {version})",
            hint=f"update lanai, or move {path} away",
        )
    if version < SCHEMA_VERSION:
        connection.execute("BEGIN IMMEDIATE")
        # Asked again: while this waited for the lock, another process may have done it.
        for step in STEPS[_version(connection) :]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.commit()


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version
