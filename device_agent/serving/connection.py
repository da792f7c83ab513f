"""One HTTP exchange: a body of limited size and time, and work that ends when its client goes."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import Receive, Send

from device_agent.serving.problems import Problem, Unacceptable

__all__ = ["Gone", "Sender", "read_body", "while_connected"]

BODY_S: Final = 30.0
SEND_S: Final = 60.0


class Gone(Exception):
    """The client left, or stopped reading. Nobody is there to be told."""


async def read_body(receive: Receive, headers: Headers, *, most_bytes: int) -> bytes:
    """The whole body. Raises ``Unacceptable`` (no JSON, too large, too slow) or ``Gone``."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise _unacceptable(415, "unsupported_media_type", "the body must be application/json")
    declared = headers.get("content-length", "0")
    if not declared.isdigit() or int(declared) > most_bytes:
        raise _too_large(most_bytes)
    try:
        async with asyncio.timeout(BODY_S):
            return await _collect(receive, most_bytes)
    except TimeoutError:
        raise _unacceptable(408, "request_timeout", "the body did not arrive in time") from None


async def _collect(receive: Receive, most_bytes: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        body += message.get("body", b"")
        if len(body) > most_bytes:
            raise _too_large(most_bytes)
        if not message.get("more_body", False):
            return bytes(body)


async def while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Run ``work``; cancel it, and wait until it has cleaned up, once the client has gone."""
    tasks = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise Gone
        tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Sender:
    """Sends one answer. A client that reads nothing for ``SEND_S`` is ``Gone``."""

    def __init__(self, send: Send) -> None:
        self.begun = False
        self._send = send

    async def whole(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        length = {"content-length": str(len(body))}
        await self.begin(status, "application/json", {**headers, **length})
        await self._body(body, more=False)

    async def begin(self, status: int, media: str, headers: Mapping[str, str]) -> None:
        self.begun = True
        named = {"content-type": media, "cache-control": "no-store", **headers}
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def piece(self, body: bytes) -> None:
        await self._body(body, more=True)

    async def end(self) -> None:
        await self._body(b"", more=False)

    async def _body(self, body: bytes, *, more: bool) -> None:
        try:
            async with asyncio.timeout(SEND_S):
                await self._send({"type": "http.response.body", "body": body, "more_body": more})
        except TimeoutError:
            raise Gone from None


def _unacceptable(status: int, code: str, message: str) -> Unacceptable:
    return Unacceptable(
        Problem(status=status, type="invalid_request_error", code=code, message=message)
    )


def _too_large(most_bytes: int) -> Unacceptable:
    return _unacceptable(413, "too_large", f"a body has at most {most_bytes:,} bytes")
