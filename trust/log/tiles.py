"""The log as files that any web server can serve (c2sp.org/tlog-tiles), written and read back.

    tile/<level>/<number>[.p/<width>]      up to 256 hashes of complete subtrees
    tile/entries/<number>[.p/<width>]      the same leaves, each with its length in two bytes

Full tiles never change. A partial tile is kept until the full one is written.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lanai.errors import LogRejected, Rejection
from trust.log.files import mapped_errors, read_file, write_durably
from trust.log.merkle import HASH_BYTES, Tree, leaf_hash

__all__ = [
    "ENTRIES",
    "MAX_LEAF_BYTES",
    "TILE_HEIGHT",
    "TILE_WIDTH",
    "decode_entries",
    "encode_entries",
    "read_entries",
    "read_tree",
    "tile_path",
    "tile_ranges",
    "write_tiles",
]

TILE_WIDTH = 256
MAX_LEAF_BYTES = 2**16 - 1
TILE_HEIGHT = 8
ENTRIES = "entries"


def tile_path(level: int | str, number: int, width: int = TILE_WIDTH) -> str:
    """Relative path of a tile; ``level`` is a number or ``"entries"``."""
    name = f"{number % 1000:03d}"
    while number := number // 1000:
        name = f"x{number % 1000:03d}/{name}"
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{name}{partial}"


def write_tiles(
    folder: Path, tree: Tree, leaves: Callable[[int, int], Sequence[bytes]], *, since: int
) -> None:
    """Write the tiles in which ``tree`` differs from its first ``since`` leaves, entries first.

    ``leaves(start, end)`` gives the contents of leaves. Raises ``StoreError``.
    """
    for number, start, end in tile_ranges(since, tree.size, level=0):
        data = encode_entries(leaves(start, end))
        _write(folder, ENTRIES, number, end - start, data)
    level = 0
    while tree.size >> (TILE_HEIGHT * level):
        for number, start, end in tile_ranges(since, tree.size, level=level):
            hashes = [tree.complete(TILE_HEIGHT * level, i) for i in range(start, end)]
            _write(folder, str(level), number, end - start, b"".join(hashes))
        level += 1


def read_tree(folder: Path, size: int) -> Tree:
    """The tree of the first ``size`` leaves, from the tiles of level 0.

    Raises ``LogRejected`` when a tile is missing or has another length; ``StoreError``.
    """
    tree = Tree()
    for number, start, end in tile_ranges(0, size, level=0):
        data = _read(folder, "0", number, end - start)
        if len(data) < (end - start) * HASH_BYTES or len(data) % HASH_BYTES:
            raise _damaged("a tile has the wrong length")
        for offset in range(0, (end - start) * HASH_BYTES, HASH_BYTES):
            tree.append(data[offset : offset + HASH_BYTES])
    return tree


def read_entries(folder: Path, tree: Tree, start: int, end: int) -> Iterator[bytes]:
    """Leaves ``start..end``, each checked against ``tree``. Raises ``LogRejected``."""
    for number, first, last in tile_ranges(start, min(end, tree.size), level=0):
        width = min(TILE_WIDTH, tree.size - first)
        leaves = decode_entries(_read(folder, ENTRIES, number, width))
        if len(leaves) < last - first:
            raise _damaged("an entry bundle is too short")
        for index in range(max(start, first), last):
            leaf = leaves[index - first]
            if leaf_hash(leaf) != tree.complete(0, index):
                raise _damaged("an entry is not the leaf of its tile")
            yield leaf


def encode_entries(leaves: Sequence[bytes]) -> bytes:
    """An entry bundle."""
    return b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)


def decode_entries(data: bytes) -> list[bytes]:
    """Leaves of an entry bundle, at most 256. Raises ``LogRejected`` (``malformed``)."""
    leaves, offset = list[bytes](), 0
    while offset < len(data):
        if len(leaves) == TILE_WIDTH:
            raise _damaged("an entry bundle holds more than a tile")
        start = offset + 2
        offset = start + int.from_bytes(data[offset:start], "big")
        if offset > len(data) or start > len(data):
            raise _damaged("an entry bundle breaks off")
        leaves.append(data[start:offset])
    return leaves


def tile_ranges(since: int, size: int, *, level: int) -> Iterator[tuple[int, int, int]]:
    """(number, start, end) of each tile at ``level`` that grew from ``since`` to ``size`` leaves.

    ``start`` and ``end`` count hashes of that level; every tile begins at a multiple of its width.
    """
    first, total = since >> (TILE_HEIGHT * level), size >> (TILE_HEIGHT * level)
    if first >= total:
        return
    for number in range(first // TILE_WIDTH, (total - 1) // TILE_WIDTH + 1):
        start = number * TILE_WIDTH
        yield number, start, min(start + TILE_WIDTH, total)


def _write(folder: Path, level: str, number: int, width: int, data: bytes) -> None:
    path = folder / tile_path(level, number, width)
    write_durably(path, data)
    if width == TILE_WIDTH:
        partials = path.with_name(f"{path.name}.p")
        with mapped_errors(partials):
            if partials.is_dir():
                shutil.rmtree(partials)


def _read(folder: Path, level: str, number: int, width: int) -> bytes:
    """A tile of at least ``width``; the full one stands in for a partial that was removed."""
    for candidate in (width, TILE_WIDTH):
        data = read_file(folder / tile_path(level, number, candidate))
        if data is not None:
            return data
    raise _damaged("a tile is missing")


def _damaged(message: str) -> LogRejected:
    return LogRejected(message, reason=Rejection.MALFORMED, hint="restore the log's folder")
