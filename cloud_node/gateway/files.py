"""Public files for devices that read them through the relay, from the cluster's static origin."""

from http import HTTPStatus
from typing import Final, Protocol

import aiohttp

from lanai.errors import CloudRefused, RefusalCode
from protos.lanai.v1alpha.gateway_pb2 import FileResponse
from trust.public_tree import MAX_RELAYED_BYTES, public_file

__all__ = ["Files", "HttpFiles"]

TIMEOUT_S: Final = 10.0
CONNECTIONS: Final = 8


class Files(Protocol):
    """Where public files come from."""

    async def read(self, path: str) -> FileResponse:
        """The file at ``path``. Raises ``CloudRefused`` for a path that is none, or no origin."""


class HttpFiles:
    """Files below ``url``. What comes is bounded, and passed on as it is: devices verify it."""

    def __init__(self, url: str) -> None:
        """Makes no connection. Call it in the running loop."""
        self._url = url.rstrip("/")
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            connector=aiohttp.TCPConnector(limit=CONNECTIONS),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
        )

    async def read(self, path: str) -> FileResponse:
        file = public_file(path)
        if file is None:
            raise CloudRefused("path", refusal=RefusalCode.BAD_REQUEST)
        limit = min(file.limit, MAX_RELAYED_BYTES)
        try:
            async with self._session.get(
                f"{self._url}/{file.path}", allow_redirects=False
            ) as answer:
                found, content = answer.status, await _read(answer.content, limit + 1)
        except (aiohttp.ClientError, TimeoutError):
            raise CloudRefused("origin", refusal=RefusalCode.INTERNAL) from None
        if found == HTTPStatus.NOT_FOUND:
            return FileResponse(found=False)
        if len(content) > limit:
            raise CloudRefused("file", refusal=RefusalCode.TOO_LARGE)
        if found != HTTPStatus.OK:
            raise CloudRefused("origin", refusal=RefusalCode.INTERNAL)
        return FileResponse(found=True, content=content)

    async def close(self) -> None:
        await self._session.close()


async def _read(stream: aiohttp.StreamReader, limit: int) -> bytes:
    """At most ``limit`` bytes, to the end if it comes before."""
    content = b""
    while len(content) < limit and (more := await stream.read(limit - len(content))):
        content += more
    return content
