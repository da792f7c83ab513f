"""The public tree over plain HTTP: what a content network would serve from the same folder.

Integrity comes from what is inside the files, so there is no TLS to trust here. Refuses every path
that `trust.public_tree` does not name, every method but GET and HEAD, and links.
"""

import asyncio
import os
from pathlib import Path
from typing import Final

from aiohttp import web

from lanai.errors import ConfigError
from trust.public_tree import PublicFile, public_file

__all__ = ["StaticServer"]

IMMUTABLE: Final = "public, max-age=31536000, immutable"
FLEETING: Final = "no-cache"
MAX_HEADER_BYTES: Final = 4096
KEEPALIVE_S: Final = 15.0


class StaticServer:
    """Serves ``folder``. Made by ``start``; ``url`` is where, without a last slash."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Files have no body to send us: one byte is too much.
        app = web.Application(client_max_size=1)
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            keepalive_timeout=KEEPALIVE_S,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )
        self.url = ""

    @classmethod
    async def start(cls, folder: Path, *, host: str, port: int) -> "StaticServer":
        """Listen; port 0 is a free one. Raises ``ConfigError`` on a taken port."""
        server = cls(folder)
        await server._runner.setup()
        try:
            await web.TCPSite(server._runner, host, port).start()
        except OSError as error:
            await server.close()
            raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from None
        bound = server._runner.addresses[0][1]
        server.url = f"http://{host}:{bound}"
        return server

    async def close(self) -> None:
        """Stop listening and end what is open."""
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        # The path as it came: an encoded one is another spelling, and no file has two.
        file = public_file(request.raw_path.removeprefix("/"))
        data = None if file is None else await asyncio.to_thread(_read, self._folder, file)
        if file is None or data is None:
            raise web.HTTPNotFound(headers={"Cache-Control": FLEETING})
        response = web.Response(
            body=data,
            headers={
                "Content-Type": file.content_type,
                "Cache-Control": IMMUTABLE if file.immutable else FLEETING,
            },
        )
        if "/entries/" in file.path:
            response.enable_compression()
        return response


def _read(folder: Path, file: PublicFile) -> bytes | None:
    """Contents; None when there is no such regular file, or it is larger than it may be."""
    try:
        handle = os.open(folder / file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as opened:
            data = opened.read(file.limit + 1)
    except OSError:
        return None
    return data if len(data) <= file.limit else None
