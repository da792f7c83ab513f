"""Chunked OHTTP: each chunk opens as it comes, in its order, and the end is marked.

The AAD of the final chunk is ``final``, of any other empty; the number of a chunk is in its nonce.
So a chunk that was moved, repeated, dropped or cut off does not open. The first piece of a request
begins with header and encapsulated key, that of a response with its nonce.
"""

import os
from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag

from lanai.errors import EnvelopeRejected, Rejection, UsageError
from trust.hpke import Opener, PrivateKey, Sealer, Suite
from trust.ohttp.configuration import HEADER_BYTES, KeyConfiguration, header, parse_header
from trust.ohttp.pieces import join_chunk, split_chunk
from trust.ohttp.response import ResponseKeys, response_nonce_bytes

__all__ = ["RequestOpener", "RequestSealer", "ResponseOpener", "ResponseSealer"]

FINAL: Final = b"final"
MAX_CHUNKS: Final = 2**24
"""Far below what AES-GCM allows under one key, far above what any message here has."""


class _Stream:
    """One direction of one message. ``ended``: its final chunk went through, or it was refused."""

    __slots__ = ("_count", "ended")

    def __init__(self) -> None:
        self._count = 0
        self.ended = False

    def _next(self) -> int:
        if self.ended:
            self._refuse("the message has ended", Rejection.AFTER_END)
        if self._count >= MAX_CHUNKS:
            self._refuse(f"more than {MAX_CHUNKS} chunks", Rejection.TOO_LARGE)
        self._count += 1
        return self._count - 1

    def _chunk(self, piece: bytes) -> tuple[bytes, bool]:
        try:
            return split_chunk(piece)
        except EnvelopeRejected as error:
            self._refuse(error.message, error.reason)

    def _taken(self, data: bytes, final: bool) -> bytes:
        if not data and not final:
            self._refuse("an empty chunk that is not the final one", Rejection.DECRYPTION)
        self.ended = final
        return data

    def _refuse(self, message: str, reason: Rejection) -> NoReturn:
        self.ended = True
        raise EnvelopeRejected(message, reason=reason) from None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._count} chunks, ended={self.ended})"


class RequestSealer(_Stream):
    """The client's side. ``media`` is the type of what is sealed: part of every key."""

    __slots__ = ("_context", "_media", "_prefix")

    def __init__(
        self, configuration: KeyConfiguration, *, media: str, suite: Suite | None = None
    ) -> None:
        """The caller has verified ``configuration.public_key``. ``suite`` is for test vectors.

        Raises ``EnvelopeRejected`` (``MALFORMED``, ``VERSION``).
        """
        super().__init__()
        suite = suite or configuration.suite
        start = header(configuration.key_id, suite)
        self._media = media
        self._context = suite.seal_to(configuration.public_key, info=_info(media, start))
        self._prefix = start + self._context.enc

    def seal(self, data: bytes, *, final: bool = False) -> bytes:
        """The next piece; the first begins with the header.

        Raises ``UsageError`` for an empty chunk that is not the final one.
        """
        first = self._next() == 0
        _require_data(data, final)
        self.ended = final
        chunk = join_chunk(self._context.seal(data, aad=FINAL if final else b""), final=final)
        return self._prefix + chunk if first else chunk

    def response(self) -> "ResponseOpener":
        """Opens the one response to this request."""
        return ResponseOpener(self._context, media=self._media)


class RequestOpener(_Stream):
    """The gateway's side, for one of its keys."""

    __slots__ = ("_context", "_media")

    def __init__(self, key: PrivateKey, first: bytes, *, media: str) -> None:
        """``first`` is the first piece; hand it to ``open`` next.

        Raises ``EnvelopeRejected`` (``MALFORMED``, ``VERSION``). That another key was meant, or
        that something was changed, shows at ``open``.
        """
        super().__init__()
        _, suite = parse_header(first)
        start, enc = first[:HEADER_BYTES], first[HEADER_BYTES : HEADER_BYTES + suite.kem.enc_bytes]
        self._media = media
        self._context = suite.open_with(key, enc, info=_info(media, start))

    def open(self, piece: bytes) -> bytes:
        """The next chunk's data. Raises ``EnvelopeRejected``; after that, everything is refused."""
        first = self._next() == 0
        sealed, final = self._chunk(piece[self._prefix_bytes if first else 0 :])
        try:
            data = self._context.open(sealed, aad=FINAL if final else b"")
        except EnvelopeRejected as error:
            self._refuse(error.message, error.reason)
        return self._taken(data, final)

    @property
    def _prefix_bytes(self) -> int:
        return HEADER_BYTES + len(self._context.enc)

    def response(self, nonce: bytes | None = None) -> "ResponseSealer":
        """Seals the one response; ``nonce`` is random, pass one in tests only."""
        return ResponseSealer(self._context, media=self._media, nonce=nonce)


class ResponseSealer(_Stream):
    """The gateway's side of the answer. Made by ``RequestOpener.response``."""

    __slots__ = ("_keys", "_nonce")

    def __init__(self, context: Opener, *, media: str, nonce: bytes | None = None) -> None:
        super().__init__()
        self._nonce = os.urandom(response_nonce_bytes(context)) if nonce is None else nonce
        self._keys = ResponseKeys.derive(context, label=_label(media), response_nonce=self._nonce)

    def seal(self, data: bytes, *, final: bool = False) -> bytes:
        """The next piece; the first begins with the nonce.

        Raises ``UsageError`` for an empty chunk that is not the final one.
        """
        number = self._next()
        _require_data(data, final)
        self.ended = final
        nonce, aad = self._keys.nonce(number), FINAL if final else b""
        chunk = join_chunk(self._keys.cipher.encrypt(nonce, data, aad), final=final)
        return chunk if number else self._nonce + chunk


class ResponseOpener(_Stream):
    """The client's side of the answer. Made by ``RequestSealer.response``."""

    __slots__ = ("_context", "_keys", "_media")

    def __init__(self, context: Sealer, *, media: str) -> None:
        super().__init__()
        self._context = context
        self._media = media
        self._keys: ResponseKeys | None = None

    @property
    def prefix_bytes(self) -> int:
        """What goes before the first chunk: the nonce."""
        return response_nonce_bytes(self._context)

    def open(self, piece: bytes) -> bytes:
        """The next chunk's data. Raises ``EnvelopeRejected``; after that, everything is refused."""
        number = self._next()
        if self._keys is None:
            nonce, piece = piece[: self.prefix_bytes], piece[self.prefix_bytes :]
            self._keys = self._derive(nonce)
        sealed, final = self._chunk(piece)
        aad = FINAL if final else b""
        try:
            data = self._keys.cipher.decrypt(self._keys.nonce(number), sealed, aad)
        except (InvalidTag, ValueError):
            self._refuse("a chunk of the response does not open", Rejection.DECRYPTION)
        return self._taken(data, final)

    def _derive(self, nonce: bytes) -> ResponseKeys:
        try:
            return ResponseKeys.derive(
                self._context, label=_label(self._media), response_nonce=nonce
            )
        except EnvelopeRejected as error:
            self._refuse(error.message, error.reason)


def _info(media: str, start: bytes) -> bytes:
    return f"{media} chunked request\x00".encode("ascii") + start


def _label(media: str) -> bytes:
    return f"{media} chunked response".encode("ascii")


def _require_data(data: bytes, final: bool) -> None:
    if not data and not final:
        raise UsageError("an empty chunk that is not the final one")
