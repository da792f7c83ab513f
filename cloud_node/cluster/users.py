"""Unprivileged users of a cluster, by number: a block of 16 for each, from a range of their own.

Nothing is written to /etc/passwd, and no other program is told. The range lies where systemd,
shadow and containers allot nothing (systemd's ``UIDS-GIDS``: unused from 1879048192 up to 2^31);
the setting ``cloud_uids`` names another one. A cluster keeps its block while nobody else runs
under it.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from cloud_node.cluster.layout import OWNERS, ClusterLayout
from cloud_node.process_user import HIGHEST_ID, ProcessUser
from lanai.errors import ConfigError

__all__ = ["STANDARD_UIDS", "UidRange", "allot", "uids_running", "users_from"]

BLOCK: Final = 16
MEMBERS: Final = {"gateway": ("store",), "node": ("store", "tpm")}
"""Whose sockets a role opens: it is in those groups."""
_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class UidRange:
    """Ids ``first`` to ``last``, for users and for groups."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """``FIRST-LAST``. Raises ``ConfigError`` when no cluster fits, or root is among them."""
        first, _, last = text.partition("-")
        found = cls(first=int(first), last=int(last))
        if not (found.first > 0 and found.last <= HIGHEST_ID and found.blocks):
            raise ConfigError(
                f"cloud_uids: {text} holds no cluster",
                hint=f"FIRST-LAST, {BLOCK} ids or more for each cluster, without 0",
            )
        return found

    @property
    def blocks(self) -> int:
        return max(0, self.last - self.first + 1) // BLOCK

    def block_of(self, uid: int) -> int | None:
        """Which block an id belongs to; None: outside of all."""
        block = (uid - self.first) // BLOCK
        return block if 0 <= block < self.blocks else None

    def mapped(self) -> bool:
        """Whether this user namespace has all of these ids."""
        return all(
            any(first <= self.first and self.last < first + count for first, count in _map(name))
            for name in ("uid_map", "gid_map")
        )


STANDARD_UIDS: Final = UidRange(first=2_000_000_000, last=2_000_524_287)
"""The setting's default."""


def allot(layout: ClusterLayout, uids: UidRange, *, standing: int | None) -> int:
    """The first id of this cluster's block; ``standing`` is what it had before.

    No process runs under the block, and no other cluster beside this one was given it. Raises
    ``ConfigError`` when the range is used up.
    """
    used = {uids.block_of(uid) for uid in uids_running()} | set(_neighbours(layout, uids))
    drawn = hashlib.sha256(str(layout.folder).encode()).digest()
    start = int.from_bytes(drawn[:8]) % uids.blocks
    if standing is not None and (before := uids.block_of(standing)) is not None:
        start = before
    for step in range(uids.blocks):
        if (block := (start + step) % uids.blocks) not in used:
            return uids.first + block * BLOCK
    raise ConfigError(
        f"every user from {uids.first} to {uids.last} is taken", hint="set cloud_uids wider"
    )


def users_from(first: int, layout: ClusterLayout) -> dict[str, ProcessUser]:
    """The users of a cluster whose block begins at ``first``."""
    number = {role: first + i for i, role in enumerate(OWNERS)}
    return {
        role: ProcessUser(
            name=f"lanai-{role.replace('_', '-')}",
            uid=number[role],
            groups=[number[other] for other in MEMBERS.get(role, ())],
            home=layout.own(role),
        )
        for role in OWNERS
    }


def uids_running() -> dict[int, list[int]]:
    """Every process by the users it runs as, real, effective and saved."""
    found: dict[int, list[int]] = {}
    for folder in _PROC.iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):  # it ended meanwhile
                for uid in _uids(folder):
                    found.setdefault(uid, []).append(int(folder.name))
    return found


def _uids(process: Path) -> set[int]:
    """Of one process; none of one that has ended and was not waited for."""
    lines = (process / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    if fields["State"].split()[0] in "ZX":
        return set()
    return set(map(int, fields["Uid"].split()))


def _neighbours(layout: ClusterLayout, uids: UidRange) -> Iterator[int | None]:
    for path in layout.folder.parent.glob("*/isolation.json"):
        if path.parent != layout.folder:
            with suppress(OSError, ValueError, KeyError, TypeError):
                yield uids.block_of(json.loads(path.read_bytes())["users"]["ray"]["uid"])


def _map(name: str) -> Iterator[tuple[int, int]]:
    """Ranges of ids that exist here: user_namespaces(7)."""
    for line in (_PROC / "self" / name).read_text().splitlines():
        inside, _, count = map(int, line.split())
        yield inside, count
