"""Speaks to a launcher: what the supervisor and `lanai cloud status` use. Knows no Ray.

Blocking and asyncio callers share one exchange of lines; each call is a connection of its own.
"""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from cloud_node.tree.state import NodeState, PieceName
from lanai.errors import CloudUnavailable

__all__ = ["LauncherClient", "LauncherStatus"]

MAX_LINE_BYTES = 4096


class LauncherStatus(BaseModel):
    """A launcher's answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ok: bool
    state: NodeState
    live: int
    address: str | None
    node_id: str | None
    pieces: dict[str, int]
    """Process ids of the tree, by name."""
    missing: list[str]
    """Protections that the machine does not give to some piece: words of `Protection`."""
    error: str | None = None

    @property
    def pid(self) -> int | None:
        """The front's: the process that listens at ``address``."""
        return self.pieces.get(PieceName.FRONT)

    @property
    def serving(self) -> bool:
        """Whether the node lives and answers, draining included."""
        return self.state in (NodeState.RUNNING, NodeState.DRAINING)


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherClient:
    """One launcher, named by its socket. Every verb raises ``CloudUnavailable`` when it is gone."""

    socket: Path
    quick_s: float = 2.0
    slow_s: float = 90.0
    """For ``start`` and ``stop``, which wait for the node."""

    async def start(self) -> LauncherStatus:
        """Have a node run; one that runs already is left as it is."""
        return await self._ask("start", self.slow_s)

    async def drain(self) -> LauncherStatus:
        """Have the node take nothing new."""
        return await self._ask("drain", self.quick_s)

    async def stop(self) -> LauncherStatus:
        """End the node."""
        return await self._ask("stop", self.slow_s)

    async def status(self) -> LauncherStatus:
        return await self._ask("status", self.quick_s)

    async def _ask(self, verb: str, within_s: float) -> LauncherStatus:
        try:
            async with asyncio.timeout(within_s):
                line = await _exchange(self.socket, json.dumps({"verb": verb}).encode() + b"\n")
            return LauncherStatus.model_validate_json(line)
        except (OSError, TimeoutError, ValidationError, ValueError):
            raise CloudUnavailable(
                "the launcher does not answer", hint="is it running? see `lanai cloud status`"
            ) from None


async def _exchange(path: Path, line: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path), limit=MAX_LINE_BYTES)
    try:
        writer.write(line)
        await writer.drain()
        return await reader.readline()
    finally:
        writer.close()
