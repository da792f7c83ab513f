"""The published files of a TUF repository with consistent snapshots: what is newest of each role.

    <n>.root.json   <n>.targets.json   <n>.snapshot.json   timestamp.json
    targets/<sha256>.trust-root.json

Every name but ``timestamp.json`` is written once. It is written last, so that it never points to
what is not there.
"""

from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, T, TargetFile, Targets, Timestamp

from lanai.errors import ConfigError
from trust.log.files import read_file, write_durably
from trust.updates.metadata import TARGET, target_path

__all__ = ["Tree"]


class Tree:
    """The folder ``tuf`` of the public tree, as its only writer reads and writes it."""

    __slots__ = ("_folder",)

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def newest_version(self, role: str) -> int:
        """The highest version ever published, 0 before the first.

        Also of what no timestamp names yet: a crash must not make one name mean two contents.
        """
        if role == "timestamp":
            return (
                self.timestamp().signed.version if (self._folder / "timestamp.json").exists() else 0
            )
        return max(map(_version, self._folder.glob(f"*.{role}.json")), default=0)

    def root(self) -> Metadata[Root]:
        """The newest. Like the other three it raises ``ConfigError`` when this is no repository."""
        return self._read(Root, f"{self.newest_version('root')}.root.json")

    def timestamp(self) -> Metadata[Timestamp]:
        return self._read(Timestamp, "timestamp.json")

    def snapshot(self) -> Metadata[Snapshot]:
        """The one that the timestamp names."""
        version = self.timestamp().signed.snapshot_meta.version
        return self._read(Snapshot, f"{version}.snapshot.json")

    def targets(self) -> Metadata[Targets]:
        """The one that the snapshot names."""
        version = self.snapshot().signed.meta["targets.json"].version
        return self._read(Targets, f"{version}.targets.json")

    def write(self, metadata: Metadata[T]) -> bytes:
        """Publish signed metadata under its name; returns its bytes."""
        signed, data = metadata.signed, metadata.to_bytes()
        name = f"{signed.type}.json"
        versioned = name if isinstance(signed, Timestamp) else f"{signed.version}.{name}"
        write_durably(self._folder / versioned, data)
        return data

    def write_target(self, data: bytes) -> TargetFile:
        """Publish the trust root; returns what targets metadata says of it."""
        named = TargetFile.from_data(TARGET, data, ["sha256"])
        write_durably(self._folder / target_path(named), data)
        return named

    def _read(self, kind: type[T], name: str) -> Metadata[T]:
        data = read_file(self._folder / name)
        try:
            if data is not None and isinstance(
                (found := Metadata[T].from_bytes(data)).signed, kind
            ):
                return found
        except RepositoryError:
            pass
        raise ConfigError(
            f"{self._folder} holds no sound {name}", hint="it is written by `lanai cloud up`"
        )


def _version(path: Path) -> int:
    number = path.name.partition(".")[0]
    return int(number) if number.isdecimal() else 0
