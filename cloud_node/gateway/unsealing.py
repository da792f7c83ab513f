"""The outer seal: opens what devices sealed to the gateway's logged key, and seals the answers.

An answer's final chunk is empty, or holds one word of ``RefusalCode``, so that the relay learns
neither content nor outcome. Only what cannot be opened is refused in the clear.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, Protocol

from cloud_node.events import EventLog
from cloud_node.intake import Intake
from cloud_node.keyring import KeyRing
from cloud_node.refusals import note_refusal
from lanai.errors import CloudRefused, EnvelopeRejected, RefusalCode, Rejection, TrustError
from protos.lanai.v1alpha.gateway_pb2 import Opaque
from trust.keys import KeyRecord
from trust.ohttp import EXCHANGE, FETCH, GatewayKey, GatewayKeys, RequestOpener

__all__ = ["MAX_FRAME_BYTES", "OpeningKeys", "RingKeys", "SealedFrames", "answer_sealed"]

MAX_FRAME_BYTES: Final = 80 * 1024
"""A whole sealed chunk (64 KiB and its tag) or the longest header, with room for their framing."""
MAX_PIECE_BYTES: Final = MAX_FRAME_BYTES + 2048
"""A frame with what the outer seal adds: encapsulated key, length, tag."""


class OpeningKeys(Protocol):
    """What opens a request's first piece."""

    def open(self, first: bytes, *, media: str) -> tuple[RequestOpener, bytes]:
        """What opens the rest, and this piece's data. Raises ``EnvelopeRejected``."""


class RingKeys:
    """The gateway's keys in a folder, read again when one is named that is not known.

    ``clock`` is unix seconds; a key that has expired opens nothing.
    """

    def __init__(self, ring: KeyRing, *, clock: Callable[[], float]) -> None:
        """Raises ``ConfigError`` for a folder that cannot be read."""
        self._ring = ring
        self._clock = clock
        self._names: frozenset[str] = frozenset()
        self._keys: tuple[tuple[KeyRecord, GatewayKey], ...] = ()
        self._reload()

    def open(self, first: bytes, *, media: str) -> tuple[RequestOpener, bytes]:
        try:
            return self._current().open(first, media=media)
        except EnvelopeRejected:
            if not self._reload():
                raise
        return self._current().open(first, media=media)

    def _current(self) -> GatewayKeys:
        now = self._clock()
        return GatewayKeys(key for record, key in self._keys if now < record.expires_at)

    def _reload(self) -> bool:
        """Whether the folder holds other keys than when it was read last."""
        names = self._ring.names()
        if names == self._names:
            return False
        self._keys = tuple((key.record, GatewayKey.from_pem(key.pem)) for key in self._ring.read())
        self._names = names
        return True


class SealedFrames:
    """One exchange as its device sealed it. Made by ``begin``."""

    def __init__(self, intake: Intake[Opaque], opener: RequestOpener, first: bytes) -> None:
        self._intake = intake
        self._opener = opener
        self._first: bytes | None = first

    @classmethod
    async def begin(
        cls, intake: Intake[Opaque], keys: OpeningKeys, *, timeout_s: float
    ) -> "SealedFrames":
        """Open the first piece. Raises ``CloudRefused``, also for a key that is not known here."""
        try:
            async with asyncio.timeout(timeout_s):
                piece = await intake.next()
        except TimeoutError:
            raise CloudRefused("no frame came", refusal=RefusalCode.BAD_REQUEST) from None
        if piece is None:
            raise CloudRefused("no frame came", refusal=RefusalCode.BAD_REQUEST)
        return cls(intake, *_open_first(keys, piece.payload, EXCHANGE))

    @property
    def ended(self) -> bool:
        """The device's final chunk was opened: nothing was cut off."""
        return self._first is None and self._opener.ended

    async def next(self) -> bytes | None:
        """The next frame, opened; None when the relay sent its last. Raises ``CloudRefused``."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        piece = await self._intake.next()
        if piece is None:
            return None
        _require_size(piece.payload)
        try:
            return self._opener.open(piece.payload)
        except TrustError:
            raise CloudRefused("a piece", refusal=RefusalCode.ENVELOPE_REJECTED) from None

    async def answer(
        self, payloads: AsyncGenerator[bytes], log: EventLog
    ) -> AsyncGenerator[bytes, None]:
        """``payloads``, sealed one by one; then the end, with the word of what went wrong."""
        sealer, word = self._opener.response(), ""
        try:
            async with aclosing(payloads):
                async for payload in payloads:
                    yield sealer.seal(payload)
        except Exception as error:  # noqa: BLE001  whatever it was, one word of it leaves
            word = note_refusal(log, error)
            await self._intake.drain()
        yield sealer.seal(word.encode("ascii"), final=True)


async def answer_sealed(
    keys: OpeningKeys,
    sealed: bytes,
    reply: Callable[[bytes], Awaitable[bytes]],
    log: EventLog,
) -> bytes:
    """A sealed question's sealed answer. Raises ``CloudRefused`` for one that does not open."""
    opener, question = _open_first(keys, sealed, FETCH)
    if not opener.ended:
        raise CloudRefused("a question in pieces", refusal=RefusalCode.BAD_REQUEST)
    sealer = opener.response()
    try:
        answer = sealer.seal(await reply(question))
    except Exception as error:  # noqa: BLE001  as above
        word = note_refusal(log, error)
        return sealer.seal(word.encode("ascii"), final=True)
    return answer + sealer.seal(b"", final=True)


def _open_first(keys: OpeningKeys, piece: bytes, media: str) -> tuple[RequestOpener, bytes]:
    _require_size(piece)
    try:
        return keys.open(piece, media=media)
    except TrustError as error:
        # An unknown key, or one that shares its id with a known one: the device looks for a newer.
        fetch_keys = error.reason in {Rejection.UNKNOWN_KEY, Rejection.DECRYPTION}
        refusal = RefusalCode.UNKNOWN_KEY if fetch_keys else RefusalCode.BAD_REQUEST
        raise CloudRefused("the outer seal", refusal=refusal) from None


def _require_size(piece: bytes) -> None:
    if len(piece) > MAX_PIECE_BYTES:
        raise CloudRefused("frame too large", refusal=RefusalCode.TOO_LARGE)
