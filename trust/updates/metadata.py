"""TUF metadata from bytes: parsed, and signed by the threshold of keys that root metadata names.

Parsing and signatures are python-tuf's (`tuf.api.metadata`); its errors end here. Loading this
module loads ``tuf``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from securesystemslib.exceptions import Error as SigningLibraryError
from tuf.api.exceptions import LengthOrHashMismatchError, RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, T, TargetFile, Timestamp

from lanai.errors import Rejection, TrustRootRejected

__all__ = [
    "TARGET",
    "expiry",
    "matches",
    "open_first_root",
    "open_next_root",
    "open_signed",
    "rejected",
    "require_match",
    "target_path",
    "unsigned_by",
]

TARGET: Final = "trust-root.json"


def open_first_root(data: bytes) -> Root:
    """Root metadata that is trusted already; it must at least be signed by itself."""
    return _open(Root, data, None)


def open_next_root(data: bytes, root: Root) -> Root:
    """The successor of ``root``: signed by both thresholds, one version on (5.3.4, 5.3.5)."""
    newer = _open(Root, data, root)
    if newer.version != root.version + 1:
        raise rejected(Rejection.ROLLBACK, "root metadata of another version than asked for")
    _open(Root, data, newer)
    return newer


def open_signed(kind: type[T], data: bytes, root: Root) -> T:
    """Metadata of a role that ``root`` names. Raises ``TrustRootRejected``."""
    return _open(kind, data, root)


def unsigned_by(newer: Root, root: Root) -> frozenset[str]:
    """Roles whose kept metadata counts no more: its keys or threshold were replaced (5.3.11)."""
    changed = {name for name, role in newer.roles.items() if role != root.roles[name]}
    if changed & {"timestamp", "snapshot"}:
        changed |= {"timestamp", "snapshot"}
    return frozenset(changed - {"root"})


def matches(data: bytes, named: MetaFile | TargetFile) -> bool:
    """Whether `require_match` would let it pass."""
    try:
        named.verify_length_and_hashes(data)
    except LengthOrHashMismatchError:
        return False
    return True


def require_match(data: bytes, named: MetaFile | TargetFile) -> None:
    """Length and hashes as signed metadata name them. Raises ``TrustRootRejected``."""
    with _mapped():
        named.verify_length_and_hashes(data)


def target_path(named: TargetFile) -> str:
    """Where a repository with consistent snapshots keeps the trust root (6.2)."""
    digest = named.hashes.get("sha256", "")
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise rejected(Rejection.MALFORMED, "the trust root is named without SHA-256")
    return f"targets/{digest}.{TARGET}"


def expiry(signed: Signed) -> int:
    """Unix seconds; metadata is expired from then on."""
    return int(signed.expires.timestamp())


def rejected(reason: Rejection, message: str) -> TrustRootRejected:
    """The error for metadata that the workflow refuses."""
    hints = {
        Rejection.FREEZE: "check this device's clock; else the operator let it expire, or hides it",
        Rejection.MALFORMED: "bring device and cluster to the same release",
    }
    hint = hints.get(reason, "do not use this cluster; report it to its operator")
    return TrustRootRejected(message, reason=reason, hint=hint)


def _open(kind: type[T], data: bytes, delegator: Root | None) -> T:
    with _mapped():
        metadata = Metadata[T].from_bytes(data)
        signed = metadata.signed
        if not isinstance(signed, kind):
            raise rejected(Rejection.MALFORMED, f"metadata of another role than {kind.type}")
        if isinstance(signed, Root):
            _check_root(signed)
        by = signed if delegator is None else delegator
        if not isinstance(by, Root):
            raise rejected(Rejection.MALFORMED, "only root metadata vouches for itself")
        by.verify_delegate(kind.type, metadata.signed_bytes, metadata.signatures)
        if isinstance(signed, Timestamp):
            _ = signed.snapshot_meta.version
    return signed


def _check_root(root: Root) -> None:
    if not root.consistent_snapshot:
        raise rejected(Rejection.MALFORMED, "root metadata without consistent snapshots")
    for role in root.roles.values():
        keys = [root.keys[name].keyval.get("public") for name in role.keyids]
        # One key under two names would count twice towards the threshold.
        if len(set(keys)) != len(keys) or not 0 < role.threshold <= len(keys):
            raise rejected(Rejection.MALFORMED, "a threshold cannot be met by different keys")


@contextmanager
def _mapped() -> Iterator[None]:
    """python-tuf's errors as ours; its texts may quote outside data."""
    try:
        yield
    except UnsignedMetadataError:
        raise rejected(Rejection.SIGNATURE, "too few signatures of the keys that count") from None
    except LengthOrHashMismatchError:
        raise rejected(
            Rejection.MISMATCH, "a file is not the one that signed metadata names"
        ) from None
    except (
        RepositoryError,
        SigningLibraryError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
    ):
        raise rejected(Rejection.MALFORMED, "metadata is not of the agreed form") from None
