"""The client workflow of the TUF specification (1.0.34, section 5), as states that it verified.

Source: https://theupdateframework.github.io/specification/latest/#detailed-client-workflow
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Final

from tuf.api.metadata import MetaFile, Root, Signed, Snapshot, T, Targets, Timestamp

from lanai.errors import CloudUnavailable, Rejection
from trust.root import MAX_ROOT_CHARACTERS, TrustRoot
from trust.updates.metadata import (
    TARGET,
    expiry,
    matches,
    open_first_root,
    open_next_root,
    open_signed,
    rejected,
    require_match,
    target_path,
    unsigned_by,
)
from trust.updates.source import FileSource
from trust.updates.state import TrustState

__all__ = ["refresh"]

MAX_ROTATIONS: Final = 256
"""Root versions in one update; whoever slept through more goes on with the next update."""
MAX_ROOT_BYTES: Final = 512 * 1024
MAX_TIMESTAMP_BYTES: Final = 16 * 1024
MAX_SNAPSHOT_BYTES: Final = 64 * 1024
MAX_TARGETS_BYTES: Final = 256 * 1024


async def refresh(
    state: TrustState, source: FileSource, *, now: float
) -> AsyncGenerator[TrustState, None]:
    """Yield each newer state as soon as it is verified, the last one with the trust root.

    The caller keeps every one before it asks for the next, as the specification says after each
    step: what was verified once is the memory against rollback, also when a later step fails.
    ``now`` is unix seconds, fixed for the whole of it (5.1). Raises ``TrustRootRejected``,
    ``CloudUnavailable`` when a file is missing, and what the source raises.

    1. Newer root metadata, one version after the other (5.3).
    2. Timestamp (5.4).
    3. Snapshot (5.5).
    4. Targets (5.6).
    5. The trust root itself (5.7).
    """
    # 1.
    root = open_first_root(state.root)
    for _ in range(MAX_ROTATIONS):
        data = await _read(source, f"{root.version + 1}.root.json", MAX_ROOT_BYTES)
        if data is None:
            break
        newer = open_next_root(data, root)
        state = state.rotated(data, forget=unsigned_by(newer, root))
        root = newer
        yield state
    update = _Update(root, source, now)
    update.require_fresh(root)
    # 2.
    timestamp, data = await update.timestamp(state.timestamp)
    yield (state := replace(state, timestamp=data))
    # 3.
    snapshot, data = await update.snapshot(state.snapshot, timestamp)
    yield (state := replace(state, snapshot=data))
    # 4.
    targets, data = await update.targets(state.targets, snapshot)
    yield (state := replace(state, targets=data))
    # 5.
    target = await update.target(state, targets)
    expires_at = min(map(expiry, (root, timestamp, snapshot, targets)))
    yield replace(state, target=target, expires_at=expires_at, checked_at=int(now))


@dataclass(frozen=True, slots=True)
class _Update:
    """Steps 2 to 5 under one root. Each returns what is verified, and its bytes."""

    root: Root
    files: FileSource
    now: float

    async def timestamp(self, kept: bytes | None) -> tuple[Timestamp, bytes]:
        data = await self._required("timestamp.json", MAX_TIMESTAMP_BYTES)
        newer = open_signed(Timestamp, data, self.root)
        if kept is not None:
            older = open_signed(Timestamp, kept, self.root)
            # 5.4.3: neither its own version nor the snapshot's goes back.
            _require_order(older.version, newer.version, "timestamp")
            _require_order(older.snapshot_meta.version, newer.snapshot_meta.version, "snapshot")
            if newer.version == older.version:
                newer, data = older, kept
        self.require_fresh(newer)
        return newer, data

    async def snapshot(self, kept: bytes | None, timestamp: Timestamp) -> tuple[Snapshot, bytes]:
        named = timestamp.snapshot_meta
        older = None if kept is None else open_signed(Snapshot, kept, self.root)
        if kept is None or not _is_named(kept, older, named):
            data = await self._named("snapshot", named, MAX_SNAPSHOT_BYTES)
        else:
            data = kept
        newer = self._open(Snapshot, data, named)
        # 5.5.5: no role's version goes back, and none is dropped.
        for name, meta in older.meta.items() if older is not None else ():
            _require_order(meta.version, _meta(newer, name).version, name)
        self.require_fresh(newer)
        return newer, data

    async def targets(self, kept: bytes | None, snapshot: Snapshot) -> tuple[Targets, bytes]:
        named = _meta(snapshot, "targets.json")
        older = None if kept is None else open_signed(Targets, kept, self.root)
        if kept is None or not _is_named(kept, older, named):
            data = await self._named("targets", named, MAX_TARGETS_BYTES)
        else:
            data = kept
        newer = self._open(Targets, data, named)
        self.require_fresh(newer)
        return newer, data

    async def target(self, state: TrustState, targets: Targets) -> bytes:
        named = targets.targets.get(TARGET)
        if named is None:
            raise rejected(Rejection.MALFORMED, "the metadata names no trust root")
        data = state.target
        if data is None or not matches(data, named):
            path = target_path(named)
            data = await self._required(path, min(named.length, MAX_ROOT_CHARACTERS))
            require_match(data, named)
        newer = TrustRoot.from_json(data.decode("ascii", "replace"))
        before = state.trust_root
        # What the device was enrolled for is no matter of an update.
        if before is not None and before.profile != newer.profile:
            raise rejected(Rejection.PROFILE, f"the new trust root is for {newer.profile}")
        return data

    def require_fresh(self, signed: Signed) -> None:
        """5.3.10, 5.4.4, 5.5.6, 5.6.5: who shows old metadata only, hides the new (freeze)."""
        if self.now >= expiry(signed):
            raise rejected(Rejection.FREEZE, f"the {signed.type} metadata has expired")

    def _open(self, kind: type[T], data: bytes, named: MetaFile) -> T:
        """5.5.2 to 5.5.4, 5.6.2 to 5.6.4: hashes, signatures, and the version that was named."""
        require_match(data, named)
        signed = open_signed(kind, data, self.root)
        if signed.version != named.version:
            raise rejected(Rejection.MISMATCH, f"{signed.type} metadata of another version")
        return signed

    async def _named(self, role: str, named: MetaFile, limit: int) -> bytes:
        bound = limit if named.length is None else min(named.length, limit)
        return await self._required(f"{named.version}.{role}.json", bound)

    async def _required(self, path: str, limit: int) -> bytes:
        data = await _read(self.files, path, limit)
        if data is None:
            raise CloudUnavailable(
                f"the cluster does not serve the file {path} of its trust root",
                hint="ask its operator",
            )
        return data


async def _read(source: FileSource, path: str, limit: int) -> bytes | None:
    data = await source.read(path, limit)
    if data is not None and len(data) > limit:
        raise rejected(Rejection.TOO_LARGE, f"{path} has more than {limit} bytes")
    return data


def _is_named(data: bytes, signed: Snapshot | Targets | None, named: MetaFile) -> bool:
    """Whether what is here already is what is named now: then nothing has to be fetched."""
    return signed is not None and signed.version == named.version and matches(data, named)


def _meta(snapshot: Snapshot, name: str) -> MetaFile:
    if name not in snapshot.meta:
        raise rejected(Rejection.ROLLBACK, f"the snapshot does not name {name} any more")
    return snapshot.meta[name]


def _require_order(older: int, newer: int, name: str) -> None:
    if newer < older:
        raise rejected(Rejection.ROLLBACK, f"the version of {name} went back")
