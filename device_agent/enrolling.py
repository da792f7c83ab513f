"""Enrols this device by hand: root metadata that its user vouches for, and an account."""

import asyncio
import json
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

from device_agent.cloud.account import Account
from lanai.errors import ConfigError, Rejection, TrustRootRejected, UsageError
from lanai.folders import Folders
from trust.private_files import locked, read_private, replace_private
from trust.root import Profile
from trust.updates import FolderSource, TrustRootStore

__all__ = ["Enrolment"]

MAX_ROOT_BYTES: Final = 512 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """What a device is to believe; nothing is written before ``write``."""

    root: bytes
    tree: Path
    account: Account | None = field(repr=False)

    @classmethod
    def read(cls, path: Path, account: Path | None) -> Self:
        """``path`` is root metadata beside the files it vouches for, or their folder.

        Raises ``ConfigError`` when there is none, or for a file that is no account, ``StoreError``.
        """
        file = _newest_root(path) if path.is_dir() else path
        data = read_private(file, limit=MAX_ROOT_BYTES)
        if data is None:
            raise ConfigError(f"{file} is gone", hint="lanai trust enrol --help")
        known = None if account is None else Account.load(account)
        return cls(root=data, tree=file.parent, account=known)

    @property
    def sha256(self) -> str:
        """Of the root metadata, hex: what a person compares."""
        return sha256(self.root).hexdigest()

    def require(self, expected: str) -> None:
        """Raises ``TrustRootRejected`` (``mismatch``) for other root metadata than expected."""
        if expected.lower().replace(":", "").strip() != self.sha256:
            raise TrustRootRejected(
                "the root metadata is not the expected one",
                reason=Rejection.MISMATCH,
                hint="get it again, and its SHA-256 on another way",
            )

    async def write(self, folders: Folders, *, profile: Profile | None, replace: bool) -> None:
        """Verify, then enrol. Raises ``UsageError`` when enrolled already and not to ``replace``.

        Raises what `TrustRootStore.enrol` raises; then the device stays as it is.
        """
        store = TrustRootStore.of(folders.state)
        if not replace and store.state() is not None:
            raise UsageError(
                "this device is enrolled already", hint="--replace gives that enrolment up"
            )
        await store.enrol(self.root, FolderSource(self.tree), profile=profile)
        if self.account is not None:
            await asyncio.to_thread(_write_account, folders.state / "account.json", self.account)


def _write_account(path: Path, account: Account) -> None:
    value = {"account": account.account, "credential": account.credential.hex()}
    with locked(path):
        replace_private(path, json.dumps(value).encode())


def _newest_root(folder: Path) -> Path:
    found = [path for path in folder.glob("*.root.json") if path.name.split(".")[0].isdecimal()]
    if not found:
        raise ConfigError(
            f"{folder} holds no root metadata", hint="a copy of the cluster's folder `tuf`"
        )
    return max(found, key=lambda path: int(path.name.split(".")[0]))
