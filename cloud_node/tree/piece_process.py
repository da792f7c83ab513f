"""One run of one piece, as the launcher sees it."""

import asyncio
import os
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO, Final

from cloud_node.tree.doors import AsyncDoor, Door, Message, close_all
from cloud_node.tree.state import PieceName
from lanai.erasure import ENVIRONMENT as ERASING
from lanai.errors import CloudUnavailable

__all__ = ["ENVIRONMENT", "PieceProcess"]

ENVIRONMENT: Final = {
    "LANG": "C.UTF-8",
    # A zygote may have one thread only.
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""The environment that every piece starts with."""
_MORE: Final = {PieceName.KEYHOLDER: ERASING}
"""What some start with besides."""


class PieceProcess:
    """Made by ``spawn``. ``entrance`` is the out-end of its door: what others reach it by."""

    def __init__(
        self,
        name: PieceName,
        process: asyncio.subprocess.Process,
        wire: Door,
        entrance: Door | None,
    ) -> None:
        self.name = name
        self.entrance = entrance
        self._process = process
        self._wire = AsyncDoor(wire)

    @classmethod
    async def spawn(cls, name: PieceName, order: Message, *, log: Path | None) -> "PieceProcess":
        """Start the piece and give it its order. ``log`` takes its events; ``None``: our stderr.

        Raises ``CloudUnavailable``.
        """
        ours, theirs = Door.pair()
        entrance, door = (None, None) if name is PieceName.FRONT else Door.pair()
        with ExitStack() as inherited:
            inherited.callback(theirs.close)
            if door is not None:
                inherited.callback(door.close)
            passed = [theirs.fileno(), *([door.fileno()] if door else [])]
            errors = inherited.enter_context(_append(log)) if log else None
            process = await asyncio.create_subprocess_exec(
                # -P: the working folder must not be a place to import code from.
                *(sys.executable, "-P", "-m", "cloud_node.tree.piece"),
                *(name, str(os.getpid()), *map(str, passed)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=errors,
                env={**ENVIRONMENT, **_MORE.get(name, {})},
                cwd="/",
                pass_fds=passed,
            )
        piece = cls(name, process, ours, entrance)
        piece.tell(order)
        return piece

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, message: Message, entrance: Door | None = None) -> None:
        """Say something; ``entrance`` goes along. A piece that is gone is noticed by ``ended``."""
        with suppress(OSError):
            self._wire.send(message, (entrance.fileno(),) if entrance else ())

    async def hear(self) -> Message:
        """Its next message. Raises ``CloudUnavailable`` when it is gone."""
        try:
            message, descriptors = await self._wire.receive()
        except EOFError:
            raise CloudUnavailable(
                f"the {self.name} ended", hint="its events say which step failed"
            ) from None
        close_all(descriptors)
        return message

    async def ended(self) -> int:
        """Its exit code, as soon as it has one."""
        return await self._process.wait()

    def kill(self) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def close(self) -> None:
        """Kill what is left of it and let go of its sockets. Idempotent."""
        self.kill()
        await self._process.wait()
        self._wire.close()
        if self.entrance is not None:
            self.entrance.close()


def _append(path: Path) -> BinaryIO:
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
