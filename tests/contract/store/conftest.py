"""Stores for the contract suite: the fake, the embedded server, and the system's Redis."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud_node.process import end_process
from cloud_node.store import MemoryStore, Store, open_store
from cloud_node.store.embedded import EmbeddedStore, store_url
from cloud_node.store.roles import Passwords, Role, acl_lines

KINDS = ("memory", "embedded", "redis")


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A short path: sockets live below it."""
    with tempfile.TemporaryDirectory(prefix="lanai-") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def embedded(short_folder: Path) -> Iterator[EmbeddedStore]:
    store = EmbeddedStore.start(
        short_folder / "embedded", short_folder / "e.sock", Passwords.generate()
    )
    yield store
    store.stop()


@pytest.fixture(scope="session")
def redis_url(short_folder: Path) -> Iterator[dict[Role, str]]:
    """Debian's redis-server with the same ACL file, on a socket file."""
    program = shutil.which("redis-server")
    if program is None:
        message = "redis-server is not installed (apt-get install redis-server)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    passwords, path = Passwords.generate(), short_folder / "r.sock"
    acl = short_folder / "users.acl"
    acl.write_text(acl_lines(passwords))
    options = ("--port", "0", "--unixsocket", str(path), "--aclfile", str(acl), "--save", "")
    process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL, cwd=short_folder)
    try:
        wait_for(path)
        yield {role: store_url(path, role, passwords) for role in Role}
    finally:
        end_process(process, grace_s=3.0)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                return probe.connect(str(path))
            except OSError:
                time.sleep(0.02)
    raise TimeoutError("redis-server did not start")


@pytest.fixture(params=KINDS)
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[dict[Role, Store]]:
    """The store as each role sees it."""
    if request.param == "memory":
        one = MemoryStore()
        yield dict.fromkeys(Role, one)
        return
    urls: Any = (
        {role: request.getfixturevalue("embedded").url(role) for role in Role}
        if request.param == "embedded"
        else request.getfixturevalue("redis_url")
    )
    opened = {role: open_store(urls[role]) for role in Role}
    yield opened
    for store in opened.values():
        await store.close()
