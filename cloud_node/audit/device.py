"""The device that sends the marked requests: a process of its own, driven through two pipes.

It is started by the name of its module, as an operator could: nothing of it is imported here. It is
enrolled like any device, in a folder of its own that the audit searches with the rest.
"""

import asyncio
import base64
import dataclasses
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cloud_node.audit.requests import MarkedRequest, Outcome
from cloud_node.cluster import enrolment
from cloud_node.cluster.layout import ClusterLayout
from lanai.content import Content
from lanai.errors import AuditError
from lanai.folders import Folders, private_folder

__all__ = ["Ended", "MarkedDevice", "Sent", "open_device"]

MODULE: Final = "device_agent.marked"
LONGEST_LINE: Final = 1 << 24
DEADLINE_S: Final = 120.0
END_S: Final = 10.0
OUTCOMES: Final = {
    "answered": Outcome.ANSWERED,
    "left": Outcome.CANCELLED,
    "context_overflow": Outcome.OVERFLOW,
    "bad_request": Outcome.BAD_REQUEST,
    "StreamInterrupted": Outcome.BROKEN,
    "internal": Outcome.BROKEN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How one request ended. ``code`` is a word of a closed list or an error's name."""

    outcome: Outcome
    code: str
    text: Content


@dataclass(slots=True)
class Sent:
    """A request on its way."""

    number: int
    began: asyncio.Event = field(default_factory=asyncio.Event)
    """The first text is here, or it ended without any."""
    ended: "asyncio.Future[Ended]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class MarkedDevice:
    """The audit's end. What waits for a request raises ``AuditError`` when the device ended."""

    def __init__(self, process: asyncio.subprocess.Process, home: Path) -> None:
        self._process = process
        self._sent: dict[int, Sent] = {}
        self._reading = asyncio.get_running_loop().create_task(self._read())
        self._write(home=str(home))

    def send(self, request: MarkedRequest) -> Sent:
        """Send it; what happens comes with the returned record."""
        sent = self._sent[request.number] = Sent(request.number)
        self._write(
            send=request.number,
            body=base64.b64encode(request.body).decode("ascii"),
            deadline_s=DEADLINE_S,
            leave_after=request.leave_after,
        )
        if self._reading.done():
            self._fail()
        return sent

    def leave(self, sent: Sent) -> None:
        """Go away from a request that runs."""
        self._write(leave=sent.number)

    async def close(self) -> None:
        """End the device; its memory, which holds marks, goes with it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reading

    def _write(self, **order: object) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")

    async def _read(self) -> None:
        output = self._process.stdout
        while output is not None and (line := await output.readline()):
            said = json.loads(line)
            sent = self._sent.get(said["request"])
            if sent is None:
                continue
            sent.began.set()
            if said["event"] == "ended":
                outcome = OUTCOMES.get(said["code"], Outcome.FAILED)
                text = Content(said["text"])
                del self._sent[sent.number]
                sent.ended.set_result(Ended(outcome=outcome, code=said["code"], text=text))
        self._fail()

    def _fail(self) -> None:
        error = AuditError("the marked device ended", hint="its words are on standard error")
        for sent in self._sent.values():
            sent.began.set()
            if not sent.ended.done():
                sent.ended.set_exception(error)
        self._sent.clear()


@asynccontextmanager
async def open_device(layout: ClusterLayout, home: Path) -> AsyncIterator[MarkedDevice]:
    """Enrol a device of its own below ``home``, start it, and end it on every way out."""
    folders = Folders.below(home)
    enrolled = dataclasses.replace(layout, state=private_folder(folders.state))
    await enrolment.enrol(enrolled, ())
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", MODULE),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LONGEST_LINE,
    )
    device = MarkedDevice(process, home)
    try:
        yield device
    finally:
        await device.close()
