"""A party's keys in a folder: one private file for each, with the public record that is logged.

A file appears whole or not at all, so a running process may read the folder at any time: that is
how a key is rotated without a restart. Expired keys are removed when a new one is made.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cloud_node.keyfiles import write_secret
from lanai.errors import ConfigError, TrustError
from lanai.folders import private_folder
from trust.key_windows import next_window
from trust.keys import KeyPurpose, KeyRecord
from trust.ohttp import GatewayKey
from trust.tokens import TokenIssuer

__all__ = ["KeyRing", "RingKey"]

SCHEMA: Final = "lanai.ring-key/1"
_FIELDS: Final = {"schema", "record", "pem"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RingKey:
    """A record, and the private half of its key."""

    record: KeyRecord
    pem: bytes = field(repr=False)


class KeyRing:
    """The keys of one purpose in ``folder``. One process adds; any may read."""

    def __init__(self, folder: Path, purpose: KeyPurpose) -> None:
        self.folder = folder
        self._purpose = purpose

    def names(self) -> frozenset[str]:
        """Which keys there are: another answer means that something was added or removed."""
        return frozenset(path.name for path in self.folder.glob("*.json"))

    def read(self) -> tuple[RingKey, ...]:
        """All of them, the first to expire first. Raises ``ConfigError`` for a damaged file."""
        found = [key for path in sorted(self.folder.glob("*.json")) if (key := self._read(path))]
        return tuple(sorted(found, key=lambda key: key.record.expires_at))

    def add(self, *, now: int, lifetime_s: int) -> KeyRecord:
        """Make a key, durably; its record is still to be published.

        It is valid from now (unix seconds), or from when at most one of the others still is.
        """
        self.prune(now=now)
        records = [key.record for key in self.read()]
        begin, end = next_window(records, now=now, lifetime_s=lifetime_s)
        public, pem = _MAKERS[self._purpose]()
        record = KeyRecord(purpose=self._purpose, key=public, not_before=begin, expires_at=end)
        value = {
            "schema": SCHEMA,
            "record": record.canonical().decode("ascii"),
            "pem": pem.decode("ascii"),
        }
        private_folder(self.folder)
        write_secret(self._path(record), json.dumps(value).encode())
        return record

    def prune(self, *, now: int) -> None:
        """Remove the keys that have expired."""
        for key in self.read():
            if key.record.expires_at <= now:
                self._path(key.record).unlink(missing_ok=True)

    def _path(self, record: KeyRecord) -> Path:
        return self.folder / f"{record.key_id.hex()}.json"

    def _read(self, path: Path) -> RingKey | None:
        """None when the file was removed meanwhile."""
        try:
            value = json.loads(path.read_bytes())
            if not isinstance(value, dict) or value.keys() != _FIELDS or value["schema"] != SCHEMA:
                raise _damaged(path)
            record = KeyRecord.parse(value["record"].encode("ascii"))
            key = RingKey(record=record, pem=value["pem"].encode("ascii"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"cannot read the key {path.name}: {error.strerror}") from None
        except (ValueError, AttributeError, TrustError):
            # From None: a parser's message could hold a part of the key.
            raise _damaged(path) from None
        if record.purpose != self._purpose or path != self._path(record):
            raise _damaged(path)
        return key


def _issuer_key() -> tuple[bytes, bytes]:
    key = TokenIssuer.generate()
    return key.spki, key.to_pem()


def _gateway_key() -> tuple[bytes, bytes]:
    key = GatewayKey.generate()
    return key.public_key, key.to_pem()


_MAKERS: Final[dict[KeyPurpose, Callable[[], tuple[bytes, bytes]]]] = {
    "issuer": _issuer_key,
    "gateway": _gateway_key,
}


def _damaged(path: Path) -> ConfigError:
    return ConfigError(f"{path} is no key of this ring", hint="remove it, and rotate the keys")
