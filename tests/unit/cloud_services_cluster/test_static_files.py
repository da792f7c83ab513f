"""The public tree over HTTP: what is served, how it may be kept, and everything that is refused."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from cloud_node.gateway.files import HttpFiles
from cloud_node.static_files import StaticServer
from lanai.errors import CloudRefused, ConfigError, RefusalCode
from trust.public_tree import MAX_ENTRIES_BYTES, MAX_RELAYED_BYTES, public_file

FILES = {
    "log/checkpoint": b"note",
    "log/tile/0/000": b"t" * 8192,
    "log/tile/0/x001/000.p/3": b"p" * 96,
    "log/tile/entries/000": b"\x00\x01e" * 256,
    "tuf/timestamp.json": b"{}",
    "tuf/3.root.json": b"{}",
}
REFUSED = [
    "",
    "log",
    "log/",
    "log/../secret",
    "log/%2e%2e/secret",
    "log/%63heckpoint",
    "//log/checkpoint",
    "log/checkpoint/",
    "log/checkpoint?x=1",
    "log/signed-checkpoint",
    "log/log.json",
    "log/tile/0/0",
    "log/tile/64/000",
    "log/tile/00/000",
    "log/tile/0/000.p/0",
    "log/tile/0/000.p/256",
    "log/tile/0/000.p/01",
    "log/tile/0/000/",
    "log/tile/data/000",
    "tuf/.hidden.json",
    "tuf/../log/checkpoint.json",
    "tuf/root.pem",
    "keys/operator",
    "secret",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path, data in FILES.items():
        (tmp_path / "public" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "public" / path).write_bytes(data)
    for name in ("log/log.json", "log/signed-checkpoint", "secret"):
        (tmp_path / "public" / name).write_text("private")
    (tmp_path / "secret").write_text("private")
    return tmp_path / "public"


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[StaticServer]:
    server = await StaticServer.start(folder, host="127.0.0.1", port=0)
    yield server
    await server.close()


@pytest.fixture
async def files(server: StaticServer) -> AsyncIterator[HttpFiles]:
    files = HttpFiles(server.url)
    yield files
    await files.close()


async def raw(server: StaticServer, path: str, method: str = "GET", more: str = "") -> bytes:
    """The answer to a request line exactly as spelled here."""
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        head = f"{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n"
        writer.write(head.encode())
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("path", FILES)
async def test_public_files_are_served(server: StaticServer, path: str) -> None:
    """Each comes whole, with its type; what never changes may be kept for ever."""
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/{path}") as answer:
        assert (answer.status, await answer.read()) == (200, FILES[path])
        cached = answer.headers["Cache-Control"]
        kind = answer.headers["Content-Type"]
    lasting = path not in ("log/checkpoint", "tuf/timestamp.json")
    assert ("immutable" in cached) is lasting
    assert (cached == "no-cache") is not lasting
    expected = {"l": "application/octet-stream", "t": "application/json"}[path[0]]
    assert kind == ("text/plain; charset=utf-8" if path.endswith("checkpoint") else expected)


@pytest.mark.parametrize("path", REFUSED)
async def test_nothing_else_is_served(server: StaticServer, path: str) -> None:
    """Other files, other spellings and every way out of the folder are not found."""
    answer = await raw(server, path)
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400"))
    assert b"private" not in answer
    assert public_file(path) is None


async def test_only_reading(server: StaticServer, folder: Path) -> None:
    """GET and HEAD, without a body; no other method."""
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        answer = await raw(server, "log/checkpoint", method)
        assert answer.startswith(b"HTTP/1.1 405")
    head = await raw(server, "log/checkpoint", "HEAD")
    assert head.startswith(b"HTTP/1.1 200")
    assert not head.endswith(b"note")
    long = await raw(server, "log/checkpoint", more=f"X-Long: {'x' * 100_000}\r\n")
    assert b" 400 " in long[:20]
    assert (folder / "log/checkpoint").read_bytes() == b"note"


async def test_links_and_large_files_are_not_served(server: StaticServer, folder: Path) -> None:
    """A link could lead out of the tree; a file above its bound is none of ours."""
    (folder / "tuf/link.json").symlink_to(folder.parent / "secret")
    (folder / "log/tile/0/001").write_bytes(bytes(8193))
    with (folder / "log/tile/entries/001").open("wb") as sparse:
        sparse.truncate(MAX_ENTRIES_BYTES + 1)
    for path in ("tuf/link.json", "log/tile/0/001", "log/tile/entries/001"):
        assert (await raw(server, path)).startswith(b"HTTP/1.1 404")


async def test_entry_bundles_are_compressed_for_who_asks(server: StaticServer) -> None:
    """Entries repeat themselves; a reader that names gzip gets them smaller."""
    answer = await raw(server, "log/tile/entries/000", more="Accept-Encoding: gzip\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Encoding: gzip" in head
    assert gzip.decompress(body) == FILES["log/tile/entries/000"]


async def test_a_taken_port_is_an_error(server: StaticServer, folder: Path) -> None:
    """Two servers on one port by mistake do not share it."""
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(ConfigError):
        await StaticServer.start(folder, host="127.0.0.1", port=port)


async def test_the_gateway_reads_public_files(files: HttpFiles, folder: Path) -> None:
    """What devices ask for through the relay comes from the same tree; other paths are refused."""
    answer = await files.read("log/tile/entries/000")
    assert (answer.found, answer.content) == (True, FILES["log/tile/entries/000"])
    assert not (await files.read("log/tile/5/000")).found
    (folder / "log/tile/entries/001").write_bytes(bytes(MAX_RELAYED_BYTES + 1))
    with pytest.raises(CloudRefused) as caught:
        await files.read("log/tile/entries/001")
    assert caught.value.refusal is RefusalCode.TOO_LARGE
    for path in REFUSED:
        with pytest.raises(CloudRefused) as caught:
            await files.read(path)
        assert caught.value.refusal is RefusalCode.BAD_REQUEST


async def test_the_gateway_bounds_what_an_origin_sends() -> None:
    """An origin that redirects, never stops, or fails is no file."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if b"checkpoint" in line:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + bytes(70_000))
        elif b"timestamp" in line:
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: /log/checkpoint\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    files = HttpFiles(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    expected = {
        "log/checkpoint": RefusalCode.TOO_LARGE,
        "tuf/timestamp.json": RefusalCode.INTERNAL,
        "tuf/1.root.json": RefusalCode.INTERNAL,
    }
    for path, refusal in expected.items():
        with pytest.raises(CloudRefused) as caught:
            await files.read(path)
        assert caught.value.refusal is refusal
    await files.close()
    server.close()
    await server.wait_closed()
