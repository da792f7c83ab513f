"""The public files of a cluster, by path: what any web server may serve, and any cache may keep.

    log/checkpoint, log/tile/…    the transparency log (c2sp.org/tlog-tiles)
    tuf/….json                    the trust root's metadata

Who serves these files decides nothing: each is signed, or hashed into something signed.
"""

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["MAX_ENTRIES_BYTES", "MAX_RELAYED_BYTES", "PublicFile", "public_file"]

MAX_RELAYED_BYTES: Final = 896 * 1024
"""Of a file that is read through the relay: it fits into one message of every party."""
MAX_ENTRIES_BYTES: Final = 256 * (2 + 2**16 - 1)
"""Of an entry bundle: 256 leaves of the largest size, each with its length."""

_MAX_CHECKPOINT: Final = 64 * 1024
_MAX_METADATA: Final = 896 * 1024
_MAX_TILE: Final = 256 * 32
_NUMBER: Final = r"(?:x[0-9]{3}/){0,6}[0-9]{3}"
_PARTIAL: Final = r"(?:\.p/(?:[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5]))?"
_TILE: Final = re.compile(rf"log/tile/(?:[0-9]|[1-5][0-9]|6[0-3])/{_NUMBER}{_PARTIAL}")
_ENTRIES: Final = re.compile(rf"log/tile/entries/{_NUMBER}{_PARTIAL}")
_METADATA: Final = re.compile(r"tuf/(?:targets/)?[a-z0-9][a-z0-9.-]{0,127}\.json")
_VERSIONED: Final = re.compile(r"tuf/(?:targets/[0-9a-f]{64}|[0-9]+)\..*")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicFile:
    """``path`` names one; it has at most ``limit`` bytes, and never changes if ``immutable``."""

    path: str
    content_type: str
    immutable: bool
    limit: int


def public_file(path: str) -> PublicFile | None:
    """What is at ``path``, exactly as spelled here; None for any other path."""
    if path == "log/checkpoint":
        return PublicFile(
            path=path,
            content_type="text/plain; charset=utf-8",
            immutable=False,
            limit=_MAX_CHECKPOINT,
        )
    if _TILE.fullmatch(path) or _ENTRIES.fullmatch(path):
        return PublicFile(
            path=path,
            content_type="application/octet-stream",
            immutable=True,
            limit=_MAX_TILE if _TILE.fullmatch(path) else MAX_ENTRIES_BYTES,
        )
    if _METADATA.fullmatch(path):
        return PublicFile(
            path=path,
            content_type="application/json",
            immutable=_VERSIONED.fullmatch(path) is not None,
            limit=_MAX_METADATA,
        )
    return None
