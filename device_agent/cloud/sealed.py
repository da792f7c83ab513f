"""A transport whose every payload is sealed to the gateway, so that the relay carries opaque bytes.

Chunked OHTTP (`trust.ohttp`): each payload of an exchange is one chunk; a question and its answer
are one payload each. The final chunk of an answer is empty, or holds the gateway's refusal, so that
the relay does not learn it either. A refusal outside the seal is the relay's, or `unknown_key`.

Trusts the key source to give verified keys only. Does not judge answers: the envelope below does.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Protocol

from device_agent.cloud.exchange import owned
from device_agent.cloud.transport import Transport, refused
from lanai.errors import CloudRefused, EnvelopeRejected, RefusalCode, Rejection
from trust.ohttp import (
    EXCHANGE,
    FETCH,
    RequestSealer,
    ResponseOpener,
    configuration_of,
    split_message,
)

__all__ = ["GatewayKeySource", "SealedTransport", "sealed_fetch"]


class GatewayKeySource(Protocol):
    """Where the gateway's public key (X-Wing, 1216 bytes) comes from."""

    async def gateway_key(self) -> bytes:
        """The newest verified key; fetched when there is none. Raises ``LanaiError``."""

    def forget(self) -> None:
        """The gateway no longer has the key given last: fetch anew before giving one again."""


class SealedTransport:
    """`Transport` over another one, its payloads sealed. Concurrent exchanges share nothing."""

    __slots__ = ("_inner", "_keys")

    def __init__(self, inner: Transport, keys: GatewayKeySource) -> None:
        self._inner = inner
        self._keys = keys

    async def connect(self) -> None:
        """The relay is reached and the gateway's key is known: what comes next can be sealed."""
        await self._inner.connect()
        await self._keys.gateway_key()

    async def exchange(self, frames: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """As the inner one, sealed; once more under a newer key when the gateway has not this one.

        A gateway that cannot open an exchange has spent nothing. A relay that only claims it gains
        nothing: the same token and request id come again, and both count once.
        """
        sending = _Kept(frames)
        for again in (True, False):
            begun = False
            try:
                async with aclosing(self._sealed_exchange(sending)) as answer:
                    async for frame in answer:
                        begun = True
                        yield frame
            except CloudRefused as error:
                if begun or not again or error.refusal is not RefusalCode.UNKNOWN_KEY:
                    raise
                self._keys.forget()
            else:
                return

    async def fetch(self, payload: bytes) -> bytes:
        try:
            return await sealed_fetch(self._inner, await self._keys.gateway_key(), payload)
        except CloudRefused as error:
            if error.refusal is not RefusalCode.UNKNOWN_KEY:
                raise
            self._keys.forget()
        return await sealed_fetch(self._inner, await self._keys.gateway_key(), payload)

    async def keys(self) -> bytes:
        return await self._inner.keys()

    async def close(self) -> None:
        await self._inner.close()

    async def _sealed_exchange(self, frames: "_Kept") -> AsyncGenerator[bytes, None]:
        sealing = _Sealing(await self._keys.gateway_key(), frames)
        pieces = self._inner.exchange(sealing.pieces())
        async with aclosing(owned(pieces)) as answer:
            async for piece in answer:
                opener = sealing.opener
                data = opener.open(piece)
                if opener.ended:
                    _require_no_refusal(data)
                    return
                yield data


async def sealed_fetch(inner: Transport, gateway_key: bytes, payload: bytes) -> bytes:
    """One question and its answer, sealed to ``gateway_key``, which the caller has judged.

    Raises ``CloudError``, and ``EnvelopeRejected`` for an answer that does not open or was cut.
    """
    sealer = RequestSealer(configuration_of(gateway_key), media=FETCH)
    answer = await inner.fetch(sealer.seal(payload, final=True))
    return _opened(sealer.response(), answer)


def _opened(opener: ResponseOpener, answer: bytes) -> bytes:
    data = b""
    for piece in split_message(answer, prefix_bytes=opener.prefix_bytes):
        chunk = opener.open(piece)
        if opener.ended:
            _require_no_refusal(chunk)
            return data
        data += chunk
    raise EnvelopeRejected(
        "the gateway's answer was cut", reason=Rejection.TRUNCATED, hint="ask again"
    )


class _Kept:
    """Frames of one request, all of them, at most a body's 18: they may be sent twice."""

    __slots__ = ("_frames", "_kept")

    def __init__(self, frames: AsyncIterator[bytes]) -> None:
        self._frames = frames
        self._kept: tuple[bytes, ...] = ()

    async def all(self) -> Sequence[bytes]:
        """Taken from where they come the first time."""
        if not self._kept:
            self._kept = tuple([frame async for frame in self._frames])
        return self._kept


class _Sealing:
    """One request as pieces, one for each frame, the last marked."""

    __slots__ = ("_frames", "_key", "_opener")

    def __init__(self, gateway_key: bytes, frames: _Kept) -> None:
        self._key = gateway_key
        self._frames = frames
        self._opener: ResponseOpener | None = None

    @property
    def opener(self) -> ResponseOpener:
        """Opens the answer. Raises ``EnvelopeRejected`` before there was a request."""
        if self._opener is None:
            raise EnvelopeRejected(
                "an answer before the request", reason=Rejection.MALFORMED, hint="ask again"
            )
        return self._opener

    async def pieces(self) -> AsyncIterator[bytes]:
        # The call to the relay begins now, and opens while this signs and seals.
        await asyncio.sleep(0)
        *frames, last = await self._frames.all()
        sealer = RequestSealer(configuration_of(self._key), media=EXCHANGE)
        self._opener = sealer.response()
        for frame in frames:
            yield sealer.seal(frame)
        yield sealer.seal(last, final=True)


def _require_no_refusal(word: bytes) -> None:
    if not word:
        return
    try:
        raise refused(RefusalCode(word.decode("ascii")))
    except ValueError:
        raise refused(RefusalCode.INTERNAL) from None
