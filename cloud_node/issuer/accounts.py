"""Accounts and their daily token counts, in an SQLite file of the issuer's own.

Each count is committed with a full sync before ``charge`` returns: after a power loss no token has
left that was not counted. A credential is at least 32 random bytes made by the operator, so one
keyed hash stores it safely; a slow password hash would only let strangers burn the issuer's time.
"""

import hashlib
import hmac
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from lanai.errors import CloudRefused, ConfigError, RefusalCode, StoreError

__all__ = ["AccountBook"]

MIN_CREDENTIAL_BYTES: Final = 32
_SALT_BYTES: Final = 16
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS accounts (
  account TEXT PRIMARY KEY, salt BLOB NOT NULL, credential BLOB NOT NULL,
  daily_tokens INTEGER NOT NULL CHECK (daily_tokens >= 0)
) STRICT;
CREATE TABLE IF NOT EXISTS issued (
  account TEXT NOT NULL REFERENCES accounts (account), day INTEGER NOT NULL,
  count INTEGER NOT NULL CHECK (count >= 0), PRIMARY KEY (account, day)
) STRICT, WITHOUT ROWID;
"""
# Stands in for an account nobody has, so that both cases cost the same hash and comparison.
_NOBODY: Final = (b"\0" * _SALT_BYTES, b"\0" * hashlib.sha256().digest_size, 0)


class AccountBook:
    """Who may take tokens, and how many each took on which day (UTC). Safe in threads."""

    def __init__(self, path: Path) -> None:
        """Open or create the book at ``path`` (mode 0600). Raises ``StoreError``."""
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._lock = threading.Lock()
        with _mapped():
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)

    def add(self, account: str, credential: bytes, *, daily_tokens: int) -> None:
        """Create ``account`` or replace its credential and quota; its counts stay."""
        if not account or len(credential) < MIN_CREDENTIAL_BYTES:
            raise ConfigError(
                "an account needs a name and a credential of 32 random bytes or more",
                hint="make the credential with secrets.token_bytes(32)",
            )
        salt = os.urandom(_SALT_BYTES)
        with self._lock, _mapped():
            self._db.execute(
                "INSERT INTO accounts VALUES (?, ?, ?, ?) ON CONFLICT (account) DO UPDATE SET "
                "salt = excluded.salt, credential = excluded.credential, "
                "daily_tokens = excluded.daily_tokens",
                (account, salt, _keyed(salt, credential), daily_tokens),
            )

    def authenticate(self, account: str, credential: bytes) -> None:
        """Check the credential in constant time. Raises ``CloudRefused`` (unauthenticated)."""
        with self._lock, _mapped():
            row = self._db.execute(
                "SELECT salt, credential FROM accounts WHERE account = ?", (account,)
            ).fetchone()
        salt, expected = row or _NOBODY[:2]
        matches = hmac.compare_digest(_keyed(salt, credential), expected)
        if not (matches and row):
            raise CloudRefused("account or credential", refusal=RefusalCode.UNAUTHENTICATED)

    def charge(self, account: str, count: int, *, day: int) -> int:
        """Count ``count`` tokens for ``day`` (days since 1970); return how many are left of it.

        All or nothing: raises ``CloudRefused`` (quota_exhausted) when fewer are left.
        """
        with self._lock, _mapped(), self._transaction():
            row = self._db.execute(
                "SELECT daily_tokens, COALESCE((SELECT count FROM issued "
                "WHERE issued.account = accounts.account AND day = ?), 0) "
                "FROM accounts WHERE account = ?",
                (day, account),
            ).fetchone()
            if row is None:  # removed since it was authenticated
                raise CloudRefused("account", refusal=RefusalCode.UNAUTHENTICATED)
            quota, used = row
            if used + count > quota:
                raise CloudRefused("daily quota", refusal=RefusalCode.QUOTA_EXHAUSTED)
            self._db.execute(
                "INSERT INTO issued VALUES (?, ?, ?) ON CONFLICT (account, day) DO UPDATE SET "
                "count = count + excluded.count",
                (account, day, count),
            )
            self._db.execute(
                "DELETE FROM issued WHERE account = ? AND day < ?", (account, day - 31)
            )
        return int(quota - used - count)

    def close(self) -> None:
        with self._lock, closing(self._db):
            pass

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One immediate transaction: rolled back by any exception, durable when it ends."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise


def _keyed(salt: bytes, credential: bytes) -> bytes:
    return hmac.digest(salt, credential, "sha256")


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError("the account book failed", hint="check the disk") from error
