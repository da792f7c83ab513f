"""What every store keeps to: the fake, the embedded server and an operator's Redis."""

import asyncio
import contextlib
import os
import re
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cloud_node.identity import TlsIdentity
from cloud_node.store import MemoryStore, Store, open_store
from cloud_node.store.embedded import EmbeddedStore, store_url
from cloud_node.store.roles import Passwords, Role
from lanai.errors import ConfigError, StoreError, UsageError

Stores = dict[Role, Store]


def digest() -> bytes:
    return os.urandom(32)


async def test_a_token_is_spent_once(stores: Stores) -> None:
    """One of many callers at once is told that the token was new; another token is untouched."""
    gateway, token = stores[Role.GATEWAY], digest()
    told = await asyncio.gather(*(gateway.spend_token(token, ttl_s=60) for _ in range(20)))
    assert sorted(told) == [False] * 19 + [True]
    assert await gateway.spend_token(digest(), ttl_s=60)


async def test_a_request_is_burned_once(stores: Stores) -> None:
    """One of many callers at once may go on; tokens and requests do not share names."""
    node, request = stores[Role.NODE], os.urandom(16)
    told = await asyncio.gather(*(node.burn_request(request, ttl_s=60) for _ in range(20)))
    assert sorted(told) == [False] * 19 + [True]


async def test_marks_lapse(stores: Stores) -> None:
    """After its time to live an entry is gone, so the store does not grow for ever."""
    gateway, token = stores[Role.GATEWAY], digest()
    # At once: on a machine that stands still for a second the first would be gone for the second.
    told = await asyncio.gather(*(gateway.spend_token(token, ttl_s=1) for _ in range(2)))
    assert sorted(told) == [False, True]
    await until(lambda: gateway.spend_token(token, ttl_s=1))


async def test_the_roster_is_what_was_announced_last(stores: Stores) -> None:
    """Announcements are replaced, withdrawn and read back byte for byte."""
    node, gateway = stores[Role.NODE], stores[Role.GATEWAY]
    first, second, said = digest(), digest(), bytes(range(256))
    await node.announce(first, b"old", ttl_s=60)
    await node.announce(first, said, ttl_s=60)
    await node.announce(second, b"other", ttl_s=60)
    assert await gateway.roster() == {first: said, second: b"other"}
    await node.withdraw(first)
    await node.withdraw(first)
    assert await gateway.roster() == {second: b"other"}
    await node.withdraw(second)
    assert await gateway.roster() == {}


async def test_announcements_lapse_and_come_back(stores: Stores) -> None:
    """A node that says nothing leaves the roster; one that speaks again is back."""
    node, gateway, node_id = stores[Role.NODE], stores[Role.GATEWAY], digest()
    await node.announce(node_id, b"here", ttl_s=1)

    async def gone() -> bool:
        return node_id not in await gateway.roster()

    await until(gone)
    await node.announce(node_id, b"back", ttl_s=60)
    assert (await gateway.roster())[node_id] == b"back"
    await node.withdraw(node_id)


@pytest.mark.parametrize("bad", [b"", b"short", b"x" * 33, "text"])
async def test_only_hashes_are_keys(stores: Stores, bad: bytes) -> None:
    """No caller can put anything but a hash or an id into a key."""
    store = stores[Role.GATEWAY]
    for call in (store.spend_token, store.burn_request):
        with pytest.raises(UsageError):
            await call(bad, ttl_s=60)
    with pytest.raises(UsageError):
        await store.announce(bad, b"x", ttl_s=60)


@pytest.mark.parametrize("ttl", [0, -1, 1.5, True])
async def test_nothing_is_kept_for_ever(stores: Stores, ttl: int) -> None:
    """Every entry has a whole number of seconds to live."""
    with pytest.raises(UsageError):
        await stores[Role.GATEWAY].spend_token(digest(), ttl_s=ttl)


async def test_announcements_are_bounded(stores: Stores) -> None:
    """Neither empty nor huge announcements are taken."""
    for said in (b"", b"x" * (1 << 20)):
        with pytest.raises(UsageError):
            await stores[Role.NODE].announce(digest(), said, ttl_s=60)


async def test_a_store_answers_ping_and_closes_twice(stores: Stores) -> None:
    """Closing is idempotent."""
    store = stores[Role.NODE]
    await store.ping()
    await store.close()
    await store.close()


async def test_connecting_opens_all_there_will_ever_be(stores: Stores) -> None:
    """However many calls run at once afterwards, no connection is added."""
    store = stores[Role.NODE]
    await store.connect()
    before = _sockets()
    await asyncio.gather(*(store.ping() for _ in range(40)))
    assert not _sockets() - before


def _sockets() -> set[str]:
    """Open in this process. One that an earlier test left may be closed between two looks."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/self/fd/{name}"))
    return {link for link in found if link.startswith("socket:")}


# What only servers have ----------------------------------------------------------------------


@pytest.fixture(params=["embedded", "redis"])
def urls(request: pytest.FixtureRequest) -> dict[Role, str]:
    if request.param == "redis":
        return dict(request.getfixturevalue("redis_url"))
    return {role: request.getfixturevalue("embedded").url(role) for role in Role}


async def test_a_role_may_do_its_own_part_only(urls: dict[Role, str]) -> None:
    """The server itself refuses a gateway that burns or announces, and a node that spends."""
    gateway, node = open_store(urls[Role.GATEWAY]), open_store(urls[Role.NODE])
    refused: list[Awaitable[object]] = [
        gateway.burn_request(os.urandom(16), ttl_s=60),
        gateway.announce(digest(), b"x", ttl_s=60),
        node.spend_token(digest(), ttl_s=60),
    ]
    for call in refused:
        with pytest.raises(StoreError, match="NoPermissionError"):
            await call
    await gateway.close()
    await node.close()


async def test_nobody_else_gets_in(urls: dict[Role, str]) -> None:
    """Without a password, or with a wrong one, there is nothing to have."""
    url = urls[Role.GATEWAY]
    path = url.rpartition("@")[2]
    for other in (f"unix://{path}", f"unix://gateway:wrong@{path}"):
        store = open_store(other)
        with pytest.raises(StoreError):
            await store.spend_token(digest(), ttl_s=60)
        await store.close()


async def test_a_server_of_another_certificate_is_refused(
    redis_tls_url: dict[Role, str], tmp_path: Path
) -> None:
    """A TLS server that does not show the expected certificate gets no command."""
    other = tmp_path / "other.pem"
    other.write_bytes(TlsIdentity.generate("other").certificate_pem)
    url = redis_tls_url[Role.GATEWAY]
    store = open_store(re.sub(r"ssl_ca_certs=[^&]*", f"ssl_ca_certs={other}", url))
    with pytest.raises(StoreError):
        await store.ping()
    await store.close()


async def test_a_store_that_is_gone_is_an_error() -> None:
    """A dead server is a ``StoreError`` soon, and no error shows the password."""
    store = open_store("unix://gateway:secret-word@/nonexistent/lanai.sock", timeout_s=0.5)
    await store.connect()
    with pytest.raises(StoreError) as failed:
        await store.spend_token(digest(), ttl_s=60)
    assert "secret-word" not in str(failed.value)
    assert failed.value.__cause__ is None
    await store.close()


async def test_the_embedded_store_comes_back() -> None:
    """After a restart under the same passwords, clients go on; nothing was kept on disk."""
    with tempfile.TemporaryDirectory(prefix="lanai-") as name:
        folder, passwords = Path(name), Passwords.generate()
        path = folder / "x.sock"
        first = EmbeddedStore.start(folder / "s", path, passwords)
        store, token = open_store(store_url(path, Role.GATEWAY, passwords)), digest()
        assert await store.spend_token(token, ttl_s=60)
        first.stop()
        with pytest.raises(StoreError):
            await store.ping()
        second = EmbeddedStore.start(folder / "s", path, passwords)
        await until(lambda: reachable(store))
        assert await store.spend_token(token, ttl_s=60)
        assert {file.name for file in (folder / "s").iterdir()} == {
            *("store.conf", "store.log", "users.acl")
        }
        assert passwords.of[Role.GATEWAY] not in (folder / "s" / "users.acl").read_text()
        await store.close()
        second.stop()


async def reachable(store: Store) -> bool:
    try:
        await store.ping()
    except StoreError:
        return False
    return True


@pytest.mark.parametrize(
    "url",
    [
        "redis://192.0.2.7:6379",
        "redis://store.example:6379",
        "http://127.0.0.1",
        "unix://",
        "memory://",
        "rediss://store.example?ssl_cert_reqs=none",
        "unix:///tmp/x.sock?db=3",
        "",
    ],
)
def test_unsafe_urls_are_refused(url: str) -> None:
    """Plain TCP off this machine, switched-off checks and unknown keys are configuration errors."""
    with pytest.raises(ConfigError):
        open_store(url)


async def test_the_fake_can_fail() -> None:
    """The fake fails as a store that is gone does, for tests of what depends on it."""
    store = MemoryStore()
    store.unavailable = True
    with pytest.raises(StoreError):
        await store.ping()


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not await condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        await asyncio.sleep(0.05)
