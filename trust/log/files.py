"""Files that are whole or absent, also after a power cut."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lanai.errors import StoreError

__all__ = ["mapped_errors", "read_file", "write_durably"]


def write_durably(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data`` in one step, on disk on return. Raises ``StoreError``."""
    part = path.with_name(f".{path.name}.part")
    with mapped_errors(path):
        _make_folders(path.parent)
        # A new file: whoever else writes in this folder cannot have it written through a link.
        part.unlink(missing_ok=True)
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)


def read_file(path: Path) -> bytes | None:
    """Contents, or None when there is no such file. Raises ``StoreError``."""
    with mapped_errors(path):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


@contextmanager
def mapped_errors(path: Path) -> Iterator[None]:
    """``OSError`` as ``StoreError`` naming ``path``."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path}: {(error.strerror or 'failed').lower()}",
            hint="check the folder's disk and permissions",
        ) from error


def _make_folders(folder: Path) -> None:
    """Create ``folder`` and those above it; each new name reaches the disk."""
    if not folder.is_dir():
        _make_folders(folder.parent)
        folder.mkdir(exist_ok=True, mode=0o700)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
