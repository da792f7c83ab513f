"""Asks the endpoint over HTTP. One connection pool for an agent; imported with the first request.

A request is tried a second time only before the first byte of an answer, and only where it could
not be reached, was too busy, or stood behind something that was.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import httpx2
import stamina

from device_agent.cloud_seam import CloudAsk
from device_agent.external.endpoint import Endpoint
from device_agent.external.outgoing import Outgoing
from device_agent.external.seam import ExternalFinal
from device_agent.external.wire import Answer, body_of
from lanai.content import Content
from lanai.errors import DeadlineExceeded, ExternalError, UsageError

__all__ = ["HttpExternal"]

ATTEMPTS: Final = 2
RETRIED: Final = frozenset({408, 429, 502, 503, 504})
CONNECT_S: Final = 10.0

logging.getLogger("stamina").addHandler(logging.NullHandler())


class HttpExternal:
    """An ``External``. ``transport`` is for tests."""

    def __init__(
        self, endpoint: Endpoint, *, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._endpoint = endpoint
        self._transport = transport
        self._client: httpx2.AsyncClient | None = None

    @property
    def url(self) -> str:
        return self._endpoint.url

    def size(self, ask: CloudAsk) -> int:
        return len(body_of(ask, self._endpoint.model))

    @asynccontextmanager
    async def open(self, outgoing: Outgoing) -> AsyncIterator["HttpStream"]:
        """Raises ``ExternalError``, ``DeadlineExceeded``; ``UsageError`` for anything unchecked."""
        if not isinstance(outgoing, Outgoing):
            raise UsageError("only what was checked may go outside; nothing was sent")
        body = body_of(outgoing.ask, self._endpoint.model)
        until = asyncio.get_running_loop().time() + self._endpoint.timeout_s
        async with AsyncExitStack() as stack:
            async with _within(until):
                response = await self._begin(body, stack)
            yield HttpStream(response, self._endpoint.model, until)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _begin(self, body: bytes, stack: AsyncExitStack) -> httpx2.Response:
        """The head of an answer, tried twice."""
        attempts = stamina.retry_context(
            on=_is_retried, attempts=ATTEMPTS, timeout=None, wait_initial=0.1, wait_max=1.0
        )
        async for attempt in attempts:
            with attempt:
                try:
                    response = await stack.enter_async_context(
                        self._http().stream("POST", f"{self.url}/chat/completions", content=body)
                    )
                except httpx2.HTTPError as error:
                    raise _failed(error) from None
                if response.status_code != 200:
                    raise _refused(response.status_code)
        return response

    def _http(self) -> httpx2.AsyncClient:
        """Nothing of the environment: no proxy, no ``.netrc``. No redirect takes it elsewhere."""
        if self._client is None:
            headers = {
                "content-type": "application/json",
                "accept": "text/event-stream",
                "accept-encoding": "identity",
            }
            if self._endpoint.key is not None:
                headers["authorization"] = self._endpoint.key.header()
            self._client = httpx2.AsyncClient(
                headers=headers,
                trust_env=False,
                follow_redirects=False,
                timeout=httpx2.Timeout(self._endpoint.timeout_s, connect=CONNECT_S),
                transport=self._transport,
            )
        return self._client


class HttpStream:
    """An ``ExternalStream``."""

    def __init__(self, response: httpx2.Response, model: str, until: float) -> None:
        self._response = response
        self._until = until
        self._answer = Answer(model)

    async def __aiter__(self) -> AsyncIterator[Content]:
        pieces = self._response.aiter_bytes()
        while not self._answer.done:
            # Around each read, never around a `yield`: the app's own time is not interrupted.
            async with _within(self._until):
                raw = await anext(pieces, None)
            if raw is None:
                return
            for text in self._answer.push(raw):
                yield text

    @property
    def final(self) -> ExternalFinal:
        return self._answer.final

    @property
    def bytes_received(self) -> int:
        return self._answer.bytes


@asynccontextmanager
async def _within(until: float) -> AsyncIterator[None]:
    """What fails on the way, and what takes too long, in our own words."""
    if asyncio.get_running_loop().time() >= until:  # what is there already would still be read
        raise _too_late()
    limit = asyncio.timeout_at(until)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise _too_late() from None
    except httpx2.HTTPError as error:
        raise _failed(error) from None


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("the endpoint's answer was not whole in external_timeout_s")


def _is_retried(error: Exception) -> bool:
    return isinstance(error, ExternalError) and (error.status is None or error.status in RETRIED)


def _refused(status: int) -> ExternalError:
    """Its words are not read: they could repeat the prompt."""
    return ExternalError(
        f"the endpoint refused the request (HTTP {status})",
        status=status,
        hint="401 or 403: the key; 404: external_url or external_model",
    )


def _failed(error: httpx2.HTTPError) -> ExternalError:
    return ExternalError(
        f"the endpoint was not reached or broke off ({type(error).__name__})",
        hint="check external_url and the network",
    )
