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

__all__ = ["ClusterLayout"]

NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
SOCKET_PATH_LIMIT: Final = 107  # sun_path of AF_UNIX on Linux, less its closing zero
_LONGEST_SOCKET: Final = "launcher-00.sock"


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
        subfolders = ("keys", "config", "logs", "public", "store", "ray")
        for path in (self.folder, self.runtime, *(self.folder / name for name in subfolders)):
            private_folder(path)
        # Earlier versions kept the log beside the public tree: it is continued, not begun anew.
        if (self.folder / "log" / "log.json").exists() and not self.transparency_log.exists():
            (self.folder / "log").rename(self.transparency_log)

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
        return self.folder / "accounts.sqlite"

    @property
    def ray(self) -> Path:
        """What is needed to use and to end this cluster's Ray."""
        return self.folder / "ray.json"

    @property
    def sockets(self) -> Iterable[Path]:
        """Sockets of launchers that were started, in the order of their numbers."""
        return sorted(self.runtime.glob("launcher-*.sock"))

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
        return self.runtime / f"{role}.sock"
