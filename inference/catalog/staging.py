"""A place beside the target in which a model is put together, and from which it appears whole.

    1  create a hidden folder beside the target and lock it: one pull of a name at a time
    2  empty it of what a killed pull left
    3  the caller fills it, and calls ``commit``
    4  commit: every file and folder reaches the disk, then one rename makes the model appear
    5  without commit, for whatever reason, the folder goes away

The lock is on the folder itself, so that no lock file is left behind: whoever waited looks again
whether the folder it locked is still the one of that name.
"""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from lanai.errors import DiskFull, ModelError
from lanai.folders import private_folder

__all__ = ["FreeBytes", "Staging", "free_bytes", "require_space", "staging"]

FreeBytes = Callable[[Path], int]


class Staging:
    """The folder to fill, and the step that makes it the target."""

    def __init__(self, folder: Path, target: Path) -> None:
        self.folder = folder
        self._target = target
        self.committed = False

    def commit(self) -> None:
        """Replace the target, if there is one, by what was put together."""
        _flush(self.folder)
        old = self._target.with_name(f".{self._target.name}.replaced")
        shutil.rmtree(old, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            self._target.rename(old)
        self.folder.rename(self._target)
        self.committed = True
        _flush_folder(self._target.parent)
        shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def staging(target: Path) -> Iterator[Staging]:
    """Hold the only staging folder of ``target``; waits for whoever holds it."""
    private_folder(target.parent)
    folder = target.with_name(f".{target.name}.partial")
    descriptor = _lock(folder)  # 1
    try:
        _empty(folder)  # 2
        stage = Staging(folder, target)
        try:
            yield stage  # 3, 4
        finally:
            if not stage.committed:
                shutil.rmtree(folder, ignore_errors=True)  # 5
    finally:
        os.close(descriptor)


def _lock(folder: Path) -> int:
    while True:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue  # its holder has just finished
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_still(folder, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_still(folder: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(folder.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            _flush_folder(path)
            _forget_pages(path)
    _flush_folder(folder)


def _forget_pages(path: Path) -> None:
    """What was written lies in memory in small pages; the first reader may want large ones."""
    if not hasattr(os, "posix_fadvise"):
        return
    with path.open("rb") as opened, contextlib.suppress(OSError):
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _flush_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_bytes(folder: Path) -> int:
    """What this user may still write where ``folder`` is or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@contextlib.contextmanager
def require_space(folder: Path, needed: int, free: FreeBytes) -> Iterator[None]:
    """Check ``needed`` bytes before the work, and give disk errors during it their names."""
    if (available := free(folder)) < needed:
        raise _full(folder, needed, available)
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(folder, needed, free(folder)) from error
        raise ModelError(
            f"cannot write to {folder}: {error.strerror or type(error).__name__}",
            hint="check that the folder is yours; LANAI_HOME names another",
        ) from error


def _full(folder: Path, needed: int, available: int) -> DiskFull:
    return DiskFull(
        f"no room in {folder}: {needed / 1e6:.0f} MB needed, {available / 1e6:.0f} MB free",
        needed=needed,
        free=available,
        hint="`lanai models rm` one that is not needed, or set LANAI_HOME to another disk",
    )
