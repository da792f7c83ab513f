"""Private keys in files of their own, readable by this user only."""

import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud_node.identity import TlsIdentity
from lanai.errors import ConfigError

__all__ = ["kept_key", "read_identity", "read_key", "write_identity", "write_secret"]


def read_identity(stem: Path) -> TlsIdentity:
    """Read ``<stem>.key`` and ``<stem>.pem``. Raises ``ConfigError``."""
    try:
        key = stem.with_suffix(".key").read_bytes()
        certificate = stem.with_suffix(".pem").read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the identity {stem.name}: {error.strerror}") from None
    return TlsIdentity.from_pem(key, certificate)


def write_identity(stem: Path, identity: TlsIdentity) -> None:
    """Write both files; the key is readable by this user only."""
    write_secret(stem.with_suffix(".key"), identity.private_key_pem)
    stem.with_suffix(".pem").write_bytes(identity.certificate_pem)


def kept_key(path: Path) -> Ed25519PrivateKey:
    """The Ed25519 key at ``path``, made when there is none yet."""
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        write_secret(path, key.private_bytes(encoding, form, serialization.NoEncryption()))
    return read_key(path)


def read_key(path: Path) -> Ed25519PrivateKey:
    """An Ed25519 key in PEM. Raises ``ConfigError``."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(f"cannot read the key {path.name}: {error.strerror}") from None
    except (ValueError, TypeError):
        raise ConfigError(f"{path.name} is no private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path.name} is no Ed25519 key")
    return key


def write_secret(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, readable by this user only.

    What root writes into a folder of another user is that user's: so keys of a party are rotated.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        _give_to_owner(file.fileno(), path.parent)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _give_to_owner(file: int, folder: Path) -> None:
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.fchown(file, owner.st_uid, owner.st_gid)
