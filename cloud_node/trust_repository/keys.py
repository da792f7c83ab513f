"""Private keys of the trust root's metadata: ``<role>-<key id>.pem``, one file for each key.

A key that is kept elsewhere is a file that is not here; put it here to sign with it.
"""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from cloud_node.keyfiles import read_key, write_secret
from lanai.folders import private_folder

__all__ = ["ROLES", "TrustKeys"]

ROLES: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {"root": (2, 3), "targets": (2, 3), "snapshot": (1, 1), "timestamp": (1, 1)}
)
"""Of each role: how many signatures it takes, and of how many keys."""
NAMED: Final = 16
"""Characters of a key id in a file's name."""


class TrustKeys:
    """The key files in ``folder``, readable by this user only."""

    __slots__ = ("_folder",)

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path:
        """Where they are; made when the first key is."""
        return self._folder

    def make(self, role: str) -> list[CryptoSigner]:
        """New keys, as many as the role has, on disk before they are returned."""
        private_folder(self._folder)
        signers = []
        for _ in range(ROLES[role][1]):
            key = Ed25519PrivateKey.generate()
            signer = CryptoSigner(key)
            write_secret(self._path(role, signer.public_key.keyid), _pem(key))
            signers.append(signer)
        return signers

    def signers(self, role: str, known: Collection[str]) -> list[CryptoSigner]:
        """The keys that are here, of those with a key id in ``known``."""
        paths = sorted(self._folder.glob(f"{role}-*.pem"))
        # One that another user keeps to itself is kept elsewhere, as far as we are concerned.
        found = [CryptoSigner(read_key(path)) for path in paths if os.access(path, os.R_OK)]
        return [signer for signer in found if signer.public_key.keyid in known]

    def remove_others(self, role: str, known: Collection[str]) -> None:
        """Delete keys that count no more, and those that never did."""
        names = {self._path(role, keyid).name for keyid in known}
        for path in self._folder.glob(f"{role}-*.pem"):
            if path.name not in names:
                path.unlink(missing_ok=True)

    def _path(self, role: str, keyid: str) -> Path:
        return self._folder / f"{role}-{keyid[:NAMED]}.pem"


def _pem(key: Ed25519PrivateKey) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption())
