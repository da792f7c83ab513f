"""Where a cluster keeps its files: everything of one name in two folders of this user."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloud_node.keyring import KeyRing
from lanai.errors import ConfigError
from lanai.folders import Folders, private_folder
from trust.keys import KeyPurpose

__all__ = ["OWNERS", "ClusterLayout"]

NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
SOCKET_PATH_LIMIT: Final = 107  # sun_path of AF_UNIX on Linux, less its closing zero
OWNERS: Final = (
    "ray",
    "node",
    "gateway",
    "relay",
    "issuer",
    "log",
    "witness",
    "store",
    "tpm",
    "attestation_ca",
)
"""Parties that have files, and where there are users a user, of their own."""
_LONGEST_SOCKET: Final = "node/launcher-00.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterLayout:
    """Paths of the cluster ``name``. Nothing is created before ``create``."""

    name: str
    folder: Path
    """Keys, configurations, logs, the public tree: kept when the cluster stops."""
    runtime: Path
    """Sockets: short paths, gone with the processes."""
    state: Path
    """The device's folder on this machine, where it is enrolled."""

    @classmethod
    def of(cls, folders: Folders, name: str) -> "ClusterLayout":
        """Raises ``ConfigError`` for a bad name or folders too deep for sockets."""
        if NAME.fullmatch(name) is None:
            raise ConfigError(
                f"no cluster name: {name!r}", hint="lower-case letters, digits and dashes, up to 32"
            )
        layout = cls(
            name=name,
            folder=folders.state / "clusters" / name,
            runtime=folders.runtime / name,
            state=folders.state,
        )
        if len(str(layout.runtime / _LONGEST_SOCKET)) > SOCKET_PATH_LIMIT:
            raise ConfigError(
                f"{layout.runtime} is too long a path for sockets",
                hint="set LANAI_HOME to a shorter path",
            )
        return layout

    @classmethod
    def all(cls, folders: Folders) -> Iterable["ClusterLayout"]:
        """Every cluster that was ever started here."""
        found = sorted((folders.state / "clusters").glob("*/cluster.json"))
        return [cls.of(folders, path.parent.name) for path in found]

    def create(self) -> None:
        """Make every folder, private to this user."""
        for path in (*self.passages, self.public, *map(self.own, OWNERS), *self.meeting_places):
            private_folder(path)
        # Earlier versions kept these elsewhere. They are continued, not begun anew.
        for before, now in (
            (self.folder / "log", self.transparency_log),
            (self.folder / "witness.json", self.witness_memory),
            (self.folder / "accounts.sqlite-wal", Path(f"{self.accounts}-wal")),
            (self.folder / "accounts.sqlite", self.accounts),
        ):
            if before.exists() and not now.exists():
                before.rename(now)

    @property
    def passages(self) -> Iterable[Path]:
        """Folders that hold things of several users."""
        inner = (self.folder / name for name in ("keys", "keys/ring", "config", "logs", "own"))
        return (self.folder, *inner, self.runtime)

    @property
    def meeting_places(self) -> Iterable[Path]:
        """Folders of the sockets that others connect to."""
        return (self.runtime / name for name in ("node", "store", "tpm"))

    @property
    def isolation_file(self) -> Path:
        """Whom the processes run as."""
        return self.folder / "isolation.json"

    def own(self, role: str) -> Path:
        """What one party, and nobody else, reads and writes. ``node`` is every node here."""
        return self.folder / "own" / role

    @property
    def identity_file(self) -> Path:
        return self.folder / "cluster.json"

    @property
    def processes(self) -> Path:
        return self.folder / "processes.json"

    @property
    def trust_root(self) -> Path:
        return self.folder / "trust-root.json"

    @property
    def public(self) -> Path:
        """What anybody may read: the transparency log's files and the trust root's metadata."""
        return self.folder / "public"

    @property
    def transparency_log(self) -> Path:
        return self.public / "log"

    @property
    def operator(self) -> Path:
        """The credential for appending to the log."""
        return self.key("operator")

    @property
    def account(self) -> Path:
        return self.folder / "account.json"

    @property
    def accounts(self) -> Path:
        return self.own("issuer") / "accounts.sqlite"

    @property
    def witness_memory(self) -> Path:
        return self.own("witness") / "witness.json"

    @property
    def ray(self) -> Path:
        """What is needed to use and to end this cluster's Ray."""
        return self.folder / "ray.json"

    @property
    def sockets(self) -> Iterable[Path]:
        """Sockets of launchers that were started, in the order of their numbers."""
        return sorted(self.socket("launcher-0").parent.glob("launcher-*.sock"))

    def key(self, name: str) -> Path:
        return self.folder / "keys" / name

    def ring(self, purpose: KeyPurpose) -> KeyRing:
        """The keys of issuer or gateway that are published in the log."""
        return KeyRing(self.folder / "keys" / "ring" / purpose, purpose)

    def config(self, role: str) -> Path:
        return self.folder / "config" / f"{role}.json"

    def log(self, role: str) -> Path:
        """Where the events of a process go (JSON lines)."""
        return self.folder / "logs" / f"{role}.jsonl"

    def socket(self, role: str) -> Path:
        """In a folder of its owner's: no other user of the cluster could put one in its place."""
        owner = "node" if role.startswith("launcher-") else role
        return self.runtime / owner / f"{role}.sock"
