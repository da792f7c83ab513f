"""A private file of lines, each forced to disk before its write returns."""

import os
from pathlib import Path

__all__ = ["append_line", "replace_file"]


def append_line(path: Path, line: bytes) -> None:
    """Raises ``OSError``. What a cut line left is not joined to this one."""
    fresh = not path.exists()
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = os.lseek(handle, 0, os.SEEK_END)
        # A predecessor cut by power loss left no newline: start a line of our own.
        cut = end > 0 and os.pread(handle, 1, end - 1) != b"\n"
        _write(handle, (b"\n" if cut else b"") + line + b"\n")
    finally:
        os.close(handle)
    if fresh:
        _sync_folder(path.parent)


def replace_file(path: Path, whole: bytes) -> None:
    """The new file is on disk before it takes the old one's name."""
    new = path.with_suffix(".new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write(handle, whole)
    finally:
        os.close(handle)
    new.replace(path)
    _sync_folder(path.parent)


def _write(handle: int, whole: bytes) -> None:
    if os.write(handle, whole) != len(whole):
        raise OSError("short write")
    os.fsync(handle)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
