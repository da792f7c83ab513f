"""The wallet: unspent tokens in one private file, shared by every process of this user.

A token leaves the file, durably, before it leaves the device: a crash may lose one, and never sends
one twice (two requests with one token could be told to come from one device).
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from lanai.errors import StoreError, TokenRejected
from trust.private_files import locked, read_private, replace_private
from trust.root import TrustRoot
from trust.tokens import Token

__all__ = ["Wallet"]

SCHEMA: Final = "lanai.wallet/2"
WITHOUT_KEYS: Final = "lanai.wallet/1"
"""Tokens of earlier versions are of keys that are in no log: nobody takes them any more."""
MAX_BYTES: Final = 4 * 1024 * 1024
_KEY_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """Tokens of one issuer key, good until it ends (unix seconds). Secrets in hex."""

    expires_at: int
    secrets: tuple[str, ...]


class Wallet:
    """Tokens by issuer key, for one challenge. Methods block for a few ms: call them in a thread.

    ``now`` is unix seconds: tokens of keys that have ended by then are not counted, not given out,
    and dropped by the next change.
    """

    __slots__ = ("_path", "_purpose")

    def __init__(self, path: Path, *, purpose: str) -> None:
        """``purpose`` names what the tokens are good for; those of another purpose are dropped."""
        self._path = path
        self._purpose = purpose

    @classmethod
    def of(cls, root: TrustRoot, path: Path) -> "Wallet":
        """The wallet for a trust root's challenge."""
        return cls(path, purpose=sha256(bytes.fromhex(root.token_challenge)).hexdigest())

    def count(self, *, now: float) -> int:
        """Tokens left. Raises ``StoreError``."""
        with locked(self._path):
            return sum(len(batch.secrets) for batch in self._read(now).values())

    def take(self, key_ids: Sequence[bytes], *, now: float) -> Token | None:
        """Remove one token from the file, then return it; None when there is none.

        It is of the first of these issuer keys that has one. Raises ``StoreError`` when it cannot
        be removed, and then it is not given out.
        """
        with locked(self._path):
            batches = self._read(now)
            key_id = next((key.hex() for key in key_ids if key.hex() in batches), None)
            if key_id is None:
                return None
            batch = batches[key_id]
            *rest, secret = batch.secrets
            batches[key_id] = _Batch(expires_at=batch.expires_at, secrets=tuple(rest))
            self._write(batches)
        try:
            return Token.from_secret(bytes.fromhex(secret))
        except (TokenRejected, ValueError):
            raise self._damaged() from None

    def add(self, tokens: Iterable[Token], *, key_id: bytes, expires_at: int, now: float) -> None:
        """Put new tokens of one issuer key in. Raises ``StoreError``."""
        new = tuple(token.to_secret().hex() for token in tokens)
        with locked(self._path):
            batches = self._read(now)
            old = batches[key_id.hex()].secrets if key_id.hex() in batches else ()
            batches[key_id.hex()] = _Batch(expires_at=expires_at, secrets=old + new)
            self._write(batches)

    def _read(self, now: float) -> dict[str, _Batch]:
        """Batches of our purpose that have tokens and have not ended, by key id in hex."""
        data = read_private(self._path, limit=MAX_BYTES)
        if data is None:
            return {}
        try:
            values = json.loads(data)
            if values["schema"] == WITHOUT_KEYS:
                return {}
            if values["schema"] != SCHEMA:
                raise self._damaged()
            batches = {key: _batch(key, value) for key, value in values["keys"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._damaged() from None
        if values.get("purpose") != self._purpose:
            return {}
        return {key: b for key, b in batches.items() if b.secrets and now < b.expires_at}

    def _write(self, batches: dict[str, _Batch]) -> None:
        keys = {
            key: {"expires_at": batch.expires_at, "tokens": batch.secrets}
            for key, batch in batches.items()
            if batch.secrets
        }
        values = {"schema": SCHEMA, "purpose": self._purpose, "keys": keys}
        replace_private(self._path, json.dumps(values).encode())

    def _damaged(self) -> StoreError:
        # From `None` at each use: a parser's message could hold a token.
        return StoreError(
            f"the wallet {self._path} is damaged", hint="move it away; new tokens are fetched"
        )

    def __repr__(self) -> str:
        return f"Wallet({str(self._path)!r})"


def _batch(key_id: str, value: dict[str, object]) -> _Batch:
    """Raises ``ValueError``, ``KeyError`` or ``TypeError`` for another form."""
    expires_at, tokens = value["expires_at"], value["tokens"]
    if _KEY_ID.fullmatch(key_id) is None or type(expires_at) is not int:
        raise ValueError("no batch")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise ValueError("no tokens")
    return _Batch(expires_at=expires_at, secrets=tuple(tokens))
