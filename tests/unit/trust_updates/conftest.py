"""A TUF repository in memory that can be made to lie, and a device's store that reads it."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Role,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from trust.root import TrustRoot
from trust.testing import UnsafeTrustWorld
from trust.updates import TrustRootStore

NOW = 1_800_000_000
DAY = 24 * 3600
ROLES = ("root", "targets", "snapshot", "timestamp")


@dataclass
class Repository:
    """``files`` by path, a ``FileSource``. ``now`` is its clock; what is signed lives a day."""

    trust_root: TrustRoot
    now: float = NOW
    life_s: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ROLES, DAY))
    files: dict[str, bytes] = field(default_factory=dict)
    keys: dict[str, list[CryptoSigner]] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ROLES, 0))
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root = Root()
        self.root.version = 0  # the first rotation makes it 1
        self.rotate(dict.fromkeys(ROLES, (1, 1)) | {"root": (2, 3)})
        self.publish()

    async def read(self, path: str, limit: int) -> bytes | None:
        self.asked.append(path)
        return self.files.get(path)

    def rotate(self, roles: dict[str, tuple[int, int]], *, by: list[CryptoSigner] | None = None):
        """New root metadata with new keys: ``roles`` to threshold and number of keys."""
        before = self.keys.get("root", []) if by is None else by
        self.root = copy.deepcopy(self.root)
        self.root.version += 1
        self.root.expires = self._expiry("root")
        for role, (threshold, count) in roles.items():
            self.keys[role] = [CryptoSigner.generate_ed25519() for _ in range(count)]
            self.root.roles[role] = Role([], threshold)
            for signer in self.keys[role]:
                self.root.add_key(signer.public_key, role)
        data = signed_by(self.root, before + self.keys["root"])
        self.files[f"{self.root.version}.root.json"] = data

    def publish(self, trust_root: TrustRoot | bytes | None = None) -> None:
        """New targets, snapshot and timestamp for a trust root."""
        value = self.trust_root if trust_root is None else trust_root
        data = value if isinstance(value, bytes) else value.to_json().encode()
        named = TargetFile.from_data("trust-root.json", data, ["sha256"])
        self.files[f"targets/{named.hashes['sha256']}.trust-root.json"] = data
        self.put(Targets(targets={named.path: named}))
        self.put_snapshot()
        self.put_timestamp()

    def put_snapshot(self, meta: MetaFile | None = None) -> None:
        named = meta or self._named("targets")
        self.put(Snapshot(meta={"targets.json": named}))

    def put_timestamp(self, meta: MetaFile | None = None) -> None:
        self.put(Timestamp(snapshot_meta=meta or self._named("snapshot")))

    def put(self, signed: Signed) -> None:
        """Sign and publish as the role's next version."""
        role = signed.type
        self.versions[role] += 1
        signed.version, signed.expires = self.versions[role], self._expiry(role)
        name = "timestamp.json" if role == "timestamp" else f"{signed.version}.{role}.json"
        self.files[name] = signed_by(signed, self.keys[role])

    def edit(self, path: str, change: Callable[[Signed], None]) -> None:
        """Change published metadata and sign it again, as only a holder of its keys can."""
        signed = Metadata.from_bytes(self.files[path]).signed
        change(signed)
        self.files[path] = signed_by(signed, self.keys[signed.type])

    def _named(self, role: str) -> MetaFile:
        version = self.versions[role]
        return MetaFile.from_data(version, self.files[f"{version}.{role}.json"], ["sha256"])

    def _expiry(self, role: str) -> datetime:
        return datetime.fromtimestamp(self.now, UTC) + timedelta(seconds=self.life_s[role])


def signed_by(signed: Signed, signers: list[CryptoSigner]) -> bytes:
    metadata = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


@dataclass
class Device:
    """A device's store and its clock."""

    folder: Path
    now: float = NOW

    @property
    def store(self) -> TrustRootStore:
        return TrustRootStore(self.folder, clock=lambda: self.now)

    @property
    def path(self) -> Path:
        return self.folder / "state.json"


@pytest.fixture(scope="session")
def trust_root() -> TrustRoot:
    return UnsafeTrustWorld(now=NOW).root


@pytest.fixture
def other_root(trust_root: TrustRoot) -> TrustRoot:
    """A later trust root of the same cluster."""
    return replace(trust_root, checkpoint_max_age_s=trust_root.checkpoint_max_age_s + 1)


@pytest.fixture
def repository(trust_root: TrustRoot) -> Repository:
    return Repository(trust_root)


@pytest.fixture
async def device(tmp_path: Path, repository: Repository) -> Device:
    """Enrolled with the repository's first root."""
    device = Device(tmp_path / "trust")
    await device.store.enrol(repository.files["1.root.json"], repository)
    return device
