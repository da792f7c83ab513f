"""A device that an audit of the cloud drives: it sends requests that are encoded already.

    python -m device_agent.marked

Marks come and go through pipes alone: arguments and environment can be read by others.
One JSON object a line, in and out; ``body`` is base64.

    <- {"home": FOLDER}                              once: where this device is enrolled
    <- {"send": N, "body": …, "deadline_s": S, "leave_after": PIECES | null}
    <- {"leave": N}                                  cancel request N
    -> {"request": N, "event": "text"}               the first piece of its answer is here
    -> {"request": N, "event": "ended", "code": …, "text": …}

``code`` is `answered`, `left`, a word of ``RefusalCode``, or an error's name. Ends with its input.
"""

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any, Final

from device_agent.cloud import CloudClient
from lanai.cli.output import complain
from lanai.errors import CloudRefused, CloudUnavailable, LanaiError, UsageError
from lanai.folders import Folders
from lanai.settings import Settings

__all__ = ["main"]

LONGEST_LINE: Final = 1 << 24
TOKEN_BATCH: Final = 64


class MarkedDevice:
    """Requests side by side over one client."""

    def __init__(self, client: CloudClient) -> None:
        self._client = client
        self._running: dict[int, asyncio.Task[None]] = {}

    def obey(self, order: dict[str, Any]) -> None:
        """One line of the audit. Raises ``UsageError``."""
        match order:
            case {"send": int(number), "body": str(body), "deadline_s": int() | float() as limit}:
                data = base64.b64decode(body)
                work = self._send(number, data, limit, order.get("leave_after"))
                self._running[number] = asyncio.get_running_loop().create_task(work)
            case {"leave": int(number)}:
                if number in self._running:
                    self._running[number].cancel()
            case _:
                raise UsageError("an order that is not understood")

    async def close(self) -> None:
        """Cancel what runs and close the client."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._client.close()

    async def _send(
        self, number: int, body: bytes, deadline_s: float, leave_after: int | None
    ) -> None:
        pieces: list[str] = []
        try:
            code = await self._exchange(number, body, deadline_s, leave_after, pieces)
        except CloudRefused as error:
            code = str(error.refusal)
        except LanaiError as error:
            code = error.code
        except asyncio.CancelledError:
            code = "left"
        self._running.pop(number, None)
        _say({"request": number, "event": "ended", "code": code, "text": "".join(pieces)})

    async def _exchange(
        self,
        number: int,
        body: bytes,
        deadline_s: float,
        leave_after: int | None,
        pieces: list[str],
    ) -> str:
        async with self._client.open_body(body, "padded", deadline_s=deadline_s) as stream:
            async for piece in stream:
                if not pieces:
                    _say({"request": number, "event": "text"})
                pieces.append(str.__str__(piece))
                if leave_after is not None and len(pieces) >= leave_after:
                    return "left"
        return "answered"


async def _run() -> None:
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    first = json.loads(await reader.readline() or b"{}")
    folders = Folders.below(Path(first["home"]))
    client = CloudClient.enrolled(folders, Settings(token_batch=TOKEN_BATCH))
    if client is None:
        raise CloudUnavailable("this device is not enrolled", hint="the audit enrols it")
    device = MarkedDevice(client)
    try:
        while line := await reader.readline():
            device.obey(json.loads(line))
    finally:
        await device.close()


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run until the input ends; return the exit code."""
    try:
        asyncio.run(_run())
    except (ValueError, KeyError, LanaiError) as error:
        # Not its message: a line that does not parse may hold a mark.
        name = error.code if isinstance(error, LanaiError) else type(error).__name__
        complain(f"the marked device ended: {name}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
