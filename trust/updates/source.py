"""Where the files of a TUF repository come from. All of them are outside data."""

import re
from pathlib import Path
from typing import Final, Protocol

from lanai.errors import StoreError

__all__ = ["FileSource", "FolderSource"]

_NAME: Final = re.compile(r"(targets/)?[a-z0-9][a-z0-9.-]{0,127}\.json")


class FileSource(Protocol):
    """Reads files by their path inside the repository, such as ``3.root.json``."""

    async def read(self, path: str, limit: int) -> bytes | None:
        """The file, or None when there is none. Reads no more than ``limit + 1`` bytes.

        Raises ``LanaiError`` when the source cannot be asked; that is no statement about the file.
        """


class FolderSource:
    """A folder on this machine, such as the tree a cluster publishes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def read(self, path: str, limit: int) -> bytes | None:
        """Raises ``StoreError`` for a file that cannot be read, and for a path that leaves."""
        if _NAME.fullmatch(path) is None:
            raise StoreError(f"no file of a repository: {path!r}")
        # A few local files: not worth a thread each.
        try:
            with (self._folder / path).open("rb") as file:
                return file.read(limit + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(
                f"{self._folder / path}: {(error.strerror or 'failed').lower()}",
                hint="check the folder's permissions",
            ) from error
