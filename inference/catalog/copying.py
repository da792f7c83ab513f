"""Bytes from one place to another, hashed on the way."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Final, Protocol

from inference.catalog.progress import Progress, silent

__all__ = ["combined_digest", "digest_of", "link_or_copy", "write_hashed"]

PIECE_BYTES: Final = 1 << 20


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def write_hashed(
    parts: Iterable[Readable],
    target: Path,
    *,
    limit: int,
    step: str = "unpack",
    progress: Progress = silent,
) -> str:
    """Join ``parts`` into ``target``; return the SHA-256. Stops after ``limit`` bytes.

    A source that holds more than it should gives a wrong digest, not a full disk.
    """
    digest = hashlib.sha256()
    written = 0
    with target.open("wb") as out:
        for part in parts:
            while piece := part.read(min(PIECE_BYTES, limit + 1 - written)):
                _write(out, piece)
                digest.update(piece)
                written += len(piece)
                progress(step, written, limit)
    target.chmod(0o444)
    return digest.hexdigest()


def _write(out: IO[bytes], piece: bytes) -> None:
    out.write(piece)


def digest_of(path: Path, *, progress: Progress = silent) -> str:
    """SHA-256 of a file, hex."""
    digest = hashlib.sha256()
    size, done = path.stat().st_size, 0
    with path.open("rb") as opened:
        while piece := opened.read(PIECE_BYTES):
            digest.update(piece)
            done += len(piece)
            progress("verify", done, size)
    return digest.hexdigest()


def combined_digest(paths: Iterable[Path], *, progress: Progress = silent) -> str:
    """Of one file its SHA-256; of several that of their sorted ``name NUL sha256 LF`` lines."""
    digests = {path.name: digest_of(path, progress=progress) for path in paths}
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = "".join(f"{name}\0{digests[name]}\n" for name in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link where the file system allows it, else a copy."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        with source.open("rb") as opened:
            write_hashed([opened], target, limit=source.stat().st_size)
