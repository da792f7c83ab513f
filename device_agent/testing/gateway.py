"""The gateway's end of the outer seal, in memory: real keys, logged, and real chunked OHTTP."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from device_agent.cloud.transport import refused
from lanai.errors import CloudRefused, EnvelopeRejected, RefusalCode
from protos.lanai.v1alpha.gateway_pb2 import KeysResponse
from trust.keys import KeyPurpose, KeyRecord
from trust.ohttp import EXCHANGE, FETCH, GatewayKey, GatewayKeys, RequestOpener, ResponseSealer
from trust.testing import UnsafeTrustWorld

__all__ = ["SealedGateway", "sealed_answer"]

LIFETIME_S = 24 * 3600


class SealedGateway:
    """Its keys, and what it opens and seals with them. The issuer's key is shown beside them."""

    def __init__(self, world: UnsafeTrustWorld, issuer_spki: bytes) -> None:
        self._world = world
        self._issuer = self._record("issuer", issuer_spki)
        self.replace_key()

    def replace_key(self) -> None:
        """A new key; what is sealed to the old one does not open any more."""
        self.key = GatewayKey.generate()
        self._gateway = self._record("gateway", self.key.public_key)

    def keys(self) -> bytes:
        """The ``KeysResponse`` devices are shown."""
        logged = [self._world.logged(record) for record in (self._issuer, self._gateway)]
        return KeysResponse(keys=[key.to_proto() for key in logged]).SerializeToString()

    def question(self, payload: bytes) -> tuple[bytes, ResponseSealer]:
        """A question, and what seals its answer. Raises ``CloudRefused`` (``unknown_key``)."""
        opener, question = self._open(payload, FETCH)
        return question, opener.response()

    def exchange(self, payloads: Sequence[bytes]) -> tuple[list[bytes], ResponseSealer]:
        """Frames, and what seals the answer. Raises ``CloudRefused`` (``unknown_key``)."""
        opener, first = self._open(payloads[0], EXCHANGE)
        return [first, *map(opener.open, payloads[1:])], opener.response()

    def _open(self, first: bytes, media: str) -> tuple[RequestOpener, bytes]:
        try:
            return GatewayKeys([self.key]).open(first, media=media)
        except EnvelopeRejected:
            raise refused(RefusalCode.UNKNOWN_KEY) from None

    def _record(self, purpose: KeyPurpose, key: bytes) -> KeyRecord:
        now = self._world.now
        return KeyRecord(purpose=purpose, key=key, not_before=now, expires_at=now + LIFETIME_S)


async def sealed_answer(
    sealer: ResponseSealer, payloads: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    """``payloads`` one by one, then the end, which names the refusal they ended in."""
    word = ""
    try:
        async with aclosing(payloads):
            async for payload in payloads:
                yield sealer.seal(payload)
    except CloudRefused as error:
        word = error.refusal
    yield sealer.seal(word.encode("ascii"), final=True)
