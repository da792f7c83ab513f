"""Small private files that are whole or absent, and that one process at a time changes."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lanai.errors import StoreError
from lanai.folders import private_folder
from trust.log.files import mapped_errors

__all__ = ["locked", "read_private", "replace_private"]

PRIVATE = 0o600


def read_private(path: Path, *, limit: int) -> bytes | None:
    """Contents, or None when there is no such file. Raises ``StoreError``, also above ``limit``."""
    with mapped_errors(path):
        try:
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except FileNotFoundError:
            return None
    if len(data) > limit:
        raise StoreError(f"{path} is larger than {limit} bytes", hint="move it away")
    return data


def replace_private(path: Path, data: bytes) -> None:
    """Replace ``path`` in one step, on disk on return, mode 0600. The caller holds ``locked``."""
    part = path.with_name(f".{path.name}.part")
    with mapped_errors(path):
        part.unlink(missing_ok=True)  # one left by a crash may have another mode
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock beside ``path`` against other threads and processes. Blocks; use a thread."""
    with mapped_errors(path):
        private_folder(path.parent)
        handle = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, PRIVATE)
    try:
        with mapped_errors(path):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
