"""Signs and publishes the trust root, keeps it fresh, and rotates the keys that sign it."""

import copy
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Role, Root, Signed, Snapshot, T, Targets, Timestamp

from cloud_node.trust_repository.keys import ROLES, TrustKeys
from cloud_node.trust_repository.tree import Tree
from lanai.errors import ConfigError
from trust.private_files import locked
from trust.root import TrustRoot

__all__ = ["LIFETIMES_S", "TrustRepository"]

DAY_S: Final = 24 * 3600
LIFETIMES_S: Final = MappingProxyType(
    {"root": 365 * DAY_S, "targets": 90 * DAY_S, "snapshot": 14 * DAY_S, "timestamp": DAY_S}
)
"""A device that is shown nothing newer stops believing after the timestamp's."""


class TrustRepository:
    """One repository: the public folder ``tree`` and the private folder ``keys``.

    Several processes of one user may use it; each change is made under a lock. ``clock`` is unix
    seconds. Methods block for some files: call them in a thread. They raise ``ConfigError`` when
    too few keys are here, or the folder is not sound, and ``StoreError``.
    """

    def __init__(self, tree: Path, keys: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._tree = Tree(tree)
        self._keys = TrustKeys(keys)
        self._clock = clock

    def publish(self, trust_root: TrustRoot) -> None:
        """Make ``trust_root`` what devices update to. The first time, makes the keys, too."""
        with self._alone():
            if not self._tree.newest_version("root"):
                self._write_root(None, ROLES)
            named = self._tree.write_target(trust_root.to_json().encode("ascii"))
            self._sign_below(Targets(targets={named.path: named}))

    def rotate(self, roles: Collection[str] = ("snapshot", "timestamp")) -> int:
        """Replace the keys of ``roles``, sign everything anew; returns the new root's version.

        Without roles only the lifetimes begin again. Old and new root keys sign the new root
        metadata (spec 5.3.4), so a device that slept through any number of rotations follows them
        one by one. The replaced keys are deleted once they are no longer needed.
        """
        if unknown := set(roles) - set(ROLES):
            raise ConfigError(f"no role of the trust root: {min(unknown)}", hint=", ".join(ROLES))
        with self._alone():
            root = self._write_root(self._tree.root().signed, roles)
            self._sign_below(self._tree.targets().signed)
            for role in roles:
                self._keys.remove_others(role, root.roles[role].keyids)
            return root.version

    def refresh(self) -> None:
        """Sign a new timestamp; the rest too, where half of its life is over and keys are here.

        What a rotation that was killed left unsigned by the new keys is signed by them.
        """
        with self._alone():
            root = self._tree.root().signed
            if self._is_old(root) and self._can_sign(root, "root"):
                root = self._write_root(root, ())
            targets, snapshot = self._tree.targets(), self._tree.snapshot()
            if self._is_due(targets, root) and self._can_sign(root, "targets"):
                self._sign_below(targets.signed)
            elif self._is_due(snapshot, root):
                self._sign_snapshot(snapshot.signed.meta)
            else:
                self._sign_timestamp(self._tree.timestamp().signed.snapshot_meta)

    def expires_at(self) -> dict[str, int]:
        """When each role's metadata expires (unix seconds)."""
        tree = self._tree
        newest: tuple[Signed, ...] = (
            tree.root().signed,
            tree.targets().signed,
            tree.snapshot().signed,
            tree.timestamp().signed,
        )
        return {signed.type: int(signed.expires.timestamp()) for signed in newest}

    def _write_root(self, before: Root | None, renewed: Collection[str]) -> Root:
        """The successor of ``before``, with new keys for the roles in ``renewed``.

        1. All keys are on disk.
        2. Root metadata names the new keys, and is signed by the old root keys and the new.
        """
        # 1.
        signers = {role: self._keys.make(role) for role in renewed}
        # 2.
        root = Root() if before is None else copy.deepcopy(before)
        root.version, root.expires = self._next_version("root"), self._expiry("root")
        for role, keys in signers.items():
            root.roles[role] = Role([], ROLES[role][0])
            for key in keys:
                root.add_key(key.public_key, role)
        used = {keyid for role in root.roles.values() for keyid in role.keyids}
        root.keys = {keyid: key for keyid, key in root.keys.items() if keyid in used}
        metadata = Metadata(root)
        if before is not None:
            self._sign(metadata, before)
        self._sign(metadata, root)
        self._tree.write(metadata)
        return root

    def _sign_below(self, targets: Targets) -> None:
        """Targets, and what names it: one version on, each with a new life."""
        targets.version = self._next_version("targets")
        targets.expires = self._expiry("targets")
        data = self._publish(targets)
        self._sign_snapshot({"targets.json": _named(targets.version, data)})

    def _sign_snapshot(self, meta: dict[str, MetaFile]) -> None:
        snapshot = Snapshot(
            version=self._next_version("snapshot"), expires=self._expiry("snapshot"), meta=meta
        )
        self._sign_timestamp(_named(snapshot.version, self._publish(snapshot)))

    def _sign_timestamp(self, snapshot: MetaFile) -> None:
        timestamp = Timestamp(
            version=self._next_version("timestamp"),
            expires=self._expiry("timestamp"),
            snapshot_meta=snapshot,
        )
        self._publish(timestamp)

    def _publish(self, signed: T) -> bytes:
        metadata = Metadata(signed)
        self._sign(metadata, self._tree.root().signed)
        return self._tree.write(metadata)

    def _sign(self, metadata: Metadata[T], root: Root) -> None:
        """Add the signatures of the keys that ``root`` names. Raises ``ConfigError``: too few."""
        role = metadata.signed.type
        signers = self._signers(root, role)
        if len(signers) < root.roles[role].threshold:
            raise ConfigError(
                f"{role} metadata takes {root.roles[role].threshold} keys, {len(signers)} are here",
                hint=f"put their files into {self._keys.folder}",
            )
        for signer in signers:
            metadata.sign(signer, append=True)

    def _signers(self, root: Root, role: str) -> list[CryptoSigner]:
        return self._keys.signers(role, root.roles[role].keyids)

    def _can_sign(self, root: Root, role: str) -> bool:
        return len(self._signers(root, role)) >= root.roles[role].threshold

    def _is_due(self, metadata: Metadata[T], root: Root) -> bool:
        role = metadata.signed.type
        signed = root.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
        return not signed or self._is_old(metadata.signed)

    def _is_old(self, signed: Signed) -> bool:
        return signed.expires.timestamp() - self._clock() < LIFETIMES_S[signed.type] / 2

    def _next_version(self, role: str) -> int:
        return self._tree.newest_version(role) + 1

    def _expiry(self, role: str) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC) + timedelta(seconds=LIFETIMES_S[role])

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with locked(self._keys.folder / "repository"):
            yield


def _named(version: int, data: bytes) -> MetaFile:
    return MetaFile.from_data(version, data, ["sha256"])
