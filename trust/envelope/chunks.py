"""A stream of numbered AES-256-GCM chunks whose end is marked.

Nonce of chunk i: base nonce XOR i. AAD: the header's digest and one byte, 1 on the last chunk. So a
chunk that was moved, repeated, dropped, cut off or taken from another stream does not open.
"""

from dataclasses import dataclass, field
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lanai.errors import EnvelopeRejected, Rejection
from protos.lanai.v1alpha import envelope_pb2 as wire
from trust.envelope.header import HINT
from trust.envelope.keys import derive

__all__ = ["CHUNK_BYTES", "ChunkOpener", "ChunkSealer", "SealedChunk"]

CHUNK_BYTES = 64 * 1024
"""Plaintext of a whole body chunk; no chunk of either direction is longer."""
TAG_BYTES = 16
KEY_BYTES = 32
NONCE_BYTES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedChunk:
    """Ciphertext with its tag. ``last`` is authenticated: once changed, the chunk does not open."""

    data: bytes = field(repr=False)
    last: bool = False

    def __post_init__(self) -> None:
        if len(self.data) > CHUNK_BYTES + TAG_BYTES:
            raise EnvelopeRejected(
                f"chunk of {len(self.data)} bytes, at most {CHUNK_BYTES + TAG_BYTES}",
                reason=Rejection.TOO_LARGE,
                hint=HINT,
            )

    def to_proto(self) -> wire.Chunk:
        return wire.Chunk(data=self.data, last=self.last)

    @classmethod
    def from_proto(cls, message: wire.Chunk) -> "SealedChunk":
        """Raises ``EnvelopeRejected`` (``TOO_LARGE``)."""
        return cls(data=message.data, last=message.last)


class _ChunkStream:
    __slots__ = ("_aad", "_base", "_cipher", "_count", "_limit", "ended")

    def __init__(self, secret: bytes, *, label: bytes, header_digest: bytes, limit: int) -> None:
        """Derive key and base nonce; ``limit`` is the most chunks the stream may hold."""
        material = derive(secret, salt=header_digest, info=label, size=KEY_BYTES + NONCE_BYTES)
        self._cipher = AESGCM(material[:KEY_BYTES])
        self._base = int.from_bytes(material[KEY_BYTES:], "big")
        self._aad = (header_digest + b"\x00", header_digest + b"\x01")
        self._count = 0
        self._limit = limit
        self.ended = False
        """The last chunk went through, or a chunk was refused: nothing more may."""

    def _next_nonce(self) -> bytes:
        if self.ended:
            self._refuse("the stream has ended", Rejection.AFTER_END)
        if self._count >= self._limit:
            self._refuse(f"more than {self._limit} chunks", Rejection.TOO_LARGE)
        nonce = (self._base ^ self._count).to_bytes(NONCE_BYTES, "big")
        self._count += 1
        return nonce

    def _refuse(self, message: str, reason: Rejection) -> NoReturn:
        self.ended = True
        raise EnvelopeRejected(message, reason=reason, hint=HINT) from None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._count} chunks, ended={self.ended})"


class ChunkSealer(_ChunkStream):
    """Seals chunks in order."""

    __slots__ = ()

    def seal(self, plaintext: bytes, *, last: bool) -> SealedChunk:
        """Seal the next chunk. Raises ``EnvelopeRejected`` (``AFTER_END``, ``TOO_LARGE``)."""
        nonce = self._next_nonce()
        self.ended = last
        return SealedChunk(data=self._cipher.encrypt(nonce, plaintext, self._aad[last]), last=last)


class ChunkOpener(_ChunkStream):
    """Opens chunks in order. One refusal ends it: nothing behind a bad chunk is read."""

    __slots__ = ()

    def open(self, chunk: SealedChunk) -> bytes:
        """Open the next chunk.

        Raises ``EnvelopeRejected`` (``DECRYPTION``, ``AFTER_END``, ``TOO_LARGE``).
        """
        nonce = self._next_nonce()
        try:
            plaintext = self._cipher.decrypt(nonce, chunk.data, self._aad[chunk.last])
        except (InvalidTag, ValueError):
            self._refuse("a sealed chunk does not open", Rejection.DECRYPTION)
        self.ended = chunk.last
        return plaintext
