"""The store on a Redis or Valkey server, by socket file, loopback TCP or TLS 1.3.

| key                  | value               | written by | read by |
|----------------------|---------------------|------------|---------|
| `lanai:spent:<hash>` | `1`, expires        | gateway    | gateway |
| `lanai:burned:<id>`  | `1`, expires        | node       | node    |
| `lanai:node:<id>`    | announcement, expires | node     | gateway |
| `lanai:nodes`        | set of node ids     | node       | gateway |

The set of ids keeps `roster` independent of how many tokens are spent (SCAN walks every key).
"""

import asyncio
import ssl
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from cloud_node.store.protocol import (
    DIGEST_BYTES,
    REQUEST_ID_BYTES,
    Store,
    check_announcement,
    check_id,
    check_ttl,
)
from lanai.errors import ConfigError, StoreError

__all__ = ["RedisStore", "open_store"]

SPENT, BURNED, NODE, NODES = b"lanai:spent:", b"lanai:burned:", b"lanai:node:", b"lanai:nodes"
TLS_KEYS = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}
LOOPBACK = {"127.0.0.1", "::1", "localhost"}
CONNECTIONS = 8
"""A command takes 0.1 ms and a new TLS connection 25 ms and more: a few busy ones are best."""

T = TypeVar("T")


class RedisStore:
    """A pooled client. ``timeout_s`` bounds every call, connecting and waiting for the pool too."""

    def __init__(self, client: "Redis", *, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s

    async def spend_token(self, token_hash: bytes, *, ttl_s: int) -> bool:
        return await self._mark(SPENT + check_id(token_hash, DIGEST_BYTES).hex().encode(), ttl_s)

    async def burn_request(self, request_id: bytes, *, ttl_s: int) -> bool:
        key = BURNED + check_id(request_id, REQUEST_ID_BYTES).hex().encode()
        return await self._mark(key, ttl_s)

    async def announce(self, node_id: bytes, announcement: bytes, *, ttl_s: int) -> None:
        name = check_id(node_id, DIGEST_BYTES).hex().encode()
        check_announcement(announcement)
        pipeline = self._client.pipeline(transaction=False)
        pipeline.set(NODE + name, announcement, ex=check_ttl(ttl_s))
        pipeline.sadd(NODES, name)
        await self._call(pipeline.execute())

    async def withdraw(self, node_id: bytes) -> None:
        name = check_id(node_id, DIGEST_BYTES).hex().encode()
        pipeline = self._client.pipeline(transaction=False)
        pipeline.delete(NODE + name)
        pipeline.srem(NODES, name)
        await self._call(pipeline.execute())

    async def roster(self) -> Mapping[bytes, bytes]:
        names = [_raw(name) for name in await self._call(self._client.smembers(NODES))]
        if not names:
            return {}
        values = await self._call(self._client.mget([NODE + name for name in names]))
        lapsed = [name for name, value in zip(names, values, strict=True) if value is None]
        if lapsed:  # a node that announces again right now is back with its next announcement
            await self._call(self._client.srem(NODES, *lapsed))
        pairs = zip(names, values, strict=True)
        return {_node_id(name): _raw(value) for name, value in pairs if value is not None}

    async def connect(self) -> None:
        with suppress(StoreError):  # the first that needs it finds out
            await asyncio.gather(*(self.ping() for _ in range(CONNECTIONS)))

    async def ping(self) -> None:
        await self._call(self._client.ping())

    async def close(self) -> None:
        with suppress(RedisError, OSError):
            await self._client.aclose(close_connection_pool=True)

    async def _mark(self, key: bytes, ttl_s: int) -> bool:
        return bool(await self._call(self._client.set(key, b"1", nx=True, ex=check_ttl(ttl_s))))

    async def _call(self, answer: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except (RedisError, OSError, TimeoutError) as error:
            # `from None`: a client error may quote the command and its arguments.
            raise StoreError(
                f"the store does not answer ({type(error).__name__})",
                hint="see that the store runs: `lanai cloud status`",
            ) from None


def open_store(url: str, *, timeout_s: float = 2.0) -> Store:
    """A store at ``unix://user:password@/path``, ``redis://`` (loopback only) or ``rediss://``.

    ``rediss://`` takes ``ssl_ca_certs``, ``ssl_certfile`` and ``ssl_keyfile`` as query keys, checks
    the server's name and speaks TLS 1.3 only. Connects on first use. Raises ``ConfigError``.
    """
    pool = BlockingConnectionPool(
        max_connections=CONNECTIONS,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        # A repeated SET NX would see its own first try: the caller must know, not the client.
        retry=Retry(NoBackoff(), 0),
        **_connection(url),
    )
    return RedisStore(Redis.from_pool(pool), timeout_s=timeout_s)


def _connection(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    login: dict[str, Any] = {
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
    }
    if parts.scheme == "rediss" and parts.hostname and not query.keys() - TLS_KEYS:
        return login | _tcp(parts.hostname, parts.port) | _tls(query)
    if query:
        raise ConfigError("the store URL has unknown query keys", hint=f"known: {sorted(TLS_KEYS)}")
    if parts.scheme == "unix" and parts.path:
        kind: type[AbstractConnection] = UnixDomainSocketConnection
        return login | {"connection_class": kind, "path": unquote(parts.path)}
    if parts.scheme == "redis" and parts.hostname in LOOPBACK:
        return login | _tcp(parts.hostname, parts.port) | {"connection_class": Connection}
    raise ConfigError(
        "the store URL is not one of unix://, redis:// on loopback, rediss://",
        hint="beyond this machine the store needs TLS: rediss://user:password@host:6379",
    )


def _tcp(host: str, port: int | None) -> dict[str, Any]:
    return {"host": host, "port": port or 6379}


def _tls(files: Mapping[str, str]) -> dict[str, Any]:
    return {
        "connection_class": SSLConnection,
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
        "ssl_min_version": ssl.TLSVersion.TLSv1_3,
        **files,
    }


def _raw(value: bytes | str) -> bytes:
    if not isinstance(value, bytes):  # the client was built without decode_responses
        raise StoreError("the store answered text where bytes were put")
    return value


def _node_id(name: bytes) -> bytes:
    try:
        return bytes.fromhex(name.decode("ascii"))
    except (UnicodeDecodeError, ValueError):
        raise StoreError("the roster holds a name that is no node id") from None
