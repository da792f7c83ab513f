"""A published log as its readers get it, file by file, from whoever serves it.

The files are outside data: leaves lead to a signed root or they do not, and tiles are compared with
the tree these leaves make.
"""

from collections.abc import Iterator
from typing import Final, Protocol

from lanai.errors import LogRejected, Rejection
from trust.log.merkle import HASH_BYTES, Tree
from trust.log.tiles import (
    ENTRIES,
    TILE_HEIGHT,
    TILE_WIDTH,
    decode_entries,
    tile_path,
    tile_ranges,
)
from trust.public_tree import MAX_ENTRIES_BYTES

__all__ = ["FileReader", "check_tiles", "published_leaves"]

MAX_TILE_BYTES: Final = TILE_WIDTH * HASH_BYTES


class FileReader(Protocol):
    """Reads the log's files by their path below its prefix, such as ``tile/0/000``."""

    def read(self, path: str, limit: int) -> bytes | None:
        """The file, at most ``limit + 1`` bytes of it; None when there is none."""


def published_leaves(files: FileReader, size: int) -> Iterator[bytes]:
    """The first ``size`` leaves, from the entry bundles. Not compared with anything yet.

    Raises ``LogRejected`` (``malformed``, ``too_large``), and what ``files`` raises.
    """
    for number, start, end in tile_ranges(0, size, level=0):
        data = _read(files, ENTRIES, number, end - start, limit=MAX_ENTRIES_BYTES)
        leaves = decode_entries(data)
        if len(leaves) < end - start:
            raise _damaged("an entry bundle is too short")
        yield from leaves[: end - start]


def check_tiles(files: FileReader, tree: Tree) -> int:
    """Compare every tile of ``tree``, at every level, with the published one; return how many.

    Raises ``LogRejected`` (``inclusion``, ``malformed``, ``too_large``), and what ``files`` raises.
    """
    count = level = 0
    while tree.size >> (TILE_HEIGHT * level):
        for number, start, end in tile_ranges(0, tree.size, level=level):
            hashes = [tree.complete(TILE_HEIGHT * level, i) for i in range(start, end)]
            expected = b"".join(hashes)
            data = _read(files, str(level), number, end - start, limit=MAX_TILE_BYTES)
            # The full tile may stand in for a partial one, and then has more of them.
            if len(data) % HASH_BYTES or data[: len(expected)] != expected:
                raise LogRejected(
                    "a tile is not of the tree that the leaves make", reason=Rejection.INCLUSION
                )
            count += 1
        level += 1
    return count


def _read(files: FileReader, level: str, number: int, width: int, *, limit: int) -> bytes:
    for candidate in dict.fromkeys((width, TILE_WIDTH)):
        data = files.read(tile_path(level, number, candidate), limit)
        if data is None:
            continue
        if len(data) > limit:
            raise LogRejected("a file of the log is too long", reason=Rejection.TOO_LARGE)
        return data
    raise _damaged("a file of the log is missing")


def _damaged(message: str) -> LogRejected:
    return LogRejected(message, reason=Rejection.MALFORMED, hint="report it to the log's operator")
