"""Who the device is to the issuer. Nobody else is told."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from lanai.errors import ConfigError
from trust.private_files import read_private

__all__ = ["Account"]

MAX_BYTES = 16 * 1024
KEYS = {"account", "credential"}
CREDENTIAL = re.compile(r"(?:[0-9a-f]{2}){16,1024}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Name and secret of an account at the issuer."""

    account: str
    credential: bytes = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> "Account | None":
        """Read ``account.json``: an account name and a credential in hex. None without a file.

        Raises ``ConfigError`` for any other content, ``StoreError`` when it cannot be read.
        """
        data = read_private(path, limit=MAX_BYTES)
        if data is None:
            return None
        try:
            values = json.loads(data)
        except ValueError:
            raise _not_an_account(path) from None
        if not isinstance(values, dict) or set(values) != KEYS:
            raise _not_an_account(path)
        account, credential = values["account"], values["credential"]
        if not isinstance(account, str) or not account or not isinstance(credential, str):
            raise _not_an_account(path)
        if CREDENTIAL.fullmatch(credential) is None:
            raise _not_an_account(path)
        return cls(account=account, credential=bytes.fromhex(credential))


def _not_an_account(path: Path) -> ConfigError:
    return ConfigError(f"{path} is not an account file", hint="enrol again")
