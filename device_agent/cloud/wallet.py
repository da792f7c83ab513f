"""The wallet: unspent tokens in one private file, shared by every process of this user.

A token leaves the file, durably, before it leaves the device: a crash may lose one, and never sends
one twice (two requests with one token could be told to come from one device).
"""

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from lanai.errors import StoreError, TokenRejected
from trust.private_files import locked, read_private, replace_private
from trust.root import TrustRoot
from trust.tokens import Token

__all__ = ["Wallet"]

SCHEMA = "lanai.wallet/1"
MAX_BYTES = 4 * 1024 * 1024


class Wallet:
    """Tokens of one issuer key and challenge. Methods block for a few ms: call them in a thread."""

    __slots__ = ("_path", "_purpose")

    def __init__(self, path: Path, *, purpose: str) -> None:
        """``purpose`` names what the tokens are good for; those of another purpose are dropped."""
        self._path = path
        self._purpose = purpose

    @classmethod
    def of(cls, root: TrustRoot, path: Path) -> "Wallet":
        """The wallet for a trust root's issuer key and challenge."""
        purpose = sha256(f"{root.issuer_key}/{root.token_challenge}".encode()).hexdigest()
        return cls(path, purpose=purpose)

    def count(self) -> int:
        """Tokens left. Raises ``StoreError``."""
        with locked(self._path):
            return len(self._read())

    def take(self) -> Token | None:
        """Remove one token from the file, then return it; None when there is none.

        Raises ``StoreError`` when it cannot be removed, and then it is not given out.
        """
        with locked(self._path):
            secrets = self._read()
            if not secrets:
                return None
            *rest, secret = secrets
            self._write(rest)
        try:
            return Token.from_secret(bytes.fromhex(secret))
        except (TokenRejected, ValueError):
            raise self._damaged() from None

    def add(self, tokens: Iterable[Token]) -> None:
        """Put new tokens in. Raises ``StoreError``."""
        with locked(self._path):
            self._write([*self._read(), *(token.to_secret().hex() for token in tokens)])

    def _read(self) -> list[str]:
        data = read_private(self._path, limit=MAX_BYTES)
        if data is None:
            return []
        try:
            values = json.loads(data)
        except ValueError:
            raise self._damaged() from None
        if not isinstance(values, dict) or values.get("schema") != SCHEMA:
            raise self._damaged()
        tokens = values.get("tokens")
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise self._damaged()
        return tokens if values.get("purpose") == self._purpose else []

    def _write(self, secrets: list[str]) -> None:
        values = {"schema": SCHEMA, "purpose": self._purpose, "tokens": secrets}
        replace_private(self._path, json.dumps(values).encode())

    def _damaged(self) -> StoreError:
        # From `None` at each use: a parser's message could hold a token.
        return StoreError(
            f"the wallet {self._path} is damaged", hint="move it away; new tokens are fetched"
        )

    def __repr__(self) -> str:
        return f"Wallet({str(self._path)!r})"
