"""The answer: a server nonce in the clear, then sealed frames of one size.

The keys hang on the answering node's own secret, the header and the nonce. The device holds the
secrets of all K nodes; the one under which the first frame opens names the node that answered.
"""

import os
from collections.abc import Mapping
from typing import NoReturn

from lanai.errors import EnvelopeRejected, Rejection
from trust.envelope.chunks import TAG_BYTES, ChunkOpener, ChunkSealer, SealedChunk
from trust.envelope.encoding import fields
from trust.envelope.framing import FRAME_BYTES, MAX_FRAMES, MessageAssembler, frames
from trust.envelope.header import HINT, SERVER_NONCE_BYTES
from trust.envelope.keys import RequestSecrets

__all__ = ["AnswerOpener", "AnswerSealer"]

LABEL_ANSWER = b"lanai v1alpha answer"


class AnswerSealer:
    """Node side. Made by ``OpenRequest.answer``."""

    __slots__ = ("_sealer", "server_nonce")

    def __init__(
        self,
        secrets: RequestSecrets,
        *,
        node_id: bytes,
        header_digest: bytes,
        server_nonce: bytes | None = None,
    ) -> None:
        """``server_nonce`` is for tests: two answers under one nonce would share their keys."""
        self.server_nonce = os.urandom(SERVER_NONCE_BYTES) if server_nonce is None else server_nonce
        _require_nonce(self.server_nonce)
        self._sealer = ChunkSealer(
            secrets.data_key + secrets.answer_secret,
            label=_label(node_id, self.server_nonce),
            header_digest=header_digest,
            limit=MAX_FRAMES,
        )

    def seal(self, message: bytes, last: bool = False) -> tuple[SealedChunk, ...]:
        """Seal one message into one or more frames; ``last`` marks the end of the answer.

        Raises ``EnvelopeRejected`` (``AFTER_END``, ``TOO_LARGE``).
        """
        return tuple(
            self._sealer.seal(frame, last=last and ends) for frame, ends in frames(message)
        )

    def seal_frame(self, frame: bytes, *, last: bool) -> SealedChunk:
        """Seal one frame that `frames` made, for a sender who sends a message frame by frame.

        Raises ``EnvelopeRejected`` (``MALFORMED``, ``AFTER_END``, ``TOO_LARGE``).
        """
        if len(frame) != FRAME_BYTES:
            raise EnvelopeRejected(
                "an answer frame of the wrong size", reason=Rejection.MALFORMED, hint=HINT
            )
        return self._sealer.seal(frame, last=last)

    def __repr__(self) -> str:
        return f"AnswerSealer({self._sealer!r})"


class AnswerOpener:
    """Device side. Made by ``seal_request``. One refusal ends it."""

    __slots__ = (
        "_assembler",
        "_candidates",
        "_failed",
        "_header_digest",
        "_nonce",
        "_opener",
        "node_id",
    )

    def __init__(self, candidates: Mapping[bytes, RequestSecrets], *, header_digest: bytes) -> None:
        """``candidates``: node id to the secrets wrapped to it."""
        self._candidates = dict(candidates)
        self._header_digest = header_digest
        self._assembler = MessageAssembler()
        self._nonce: bytes | None = None
        self._opener: ChunkOpener | None = None
        self._failed = False
        self.node_id: bytes | None = None
        """The node that answered, proved by its secret; known from the first opened frame on."""

    @property
    def finished(self) -> bool:
        """The marked last frame was opened, and no frame was refused."""
        return not self._failed and self._opener is not None and self._opener.ended

    def start(self, server_nonce: bytes) -> None:
        """Take the node's nonce, once. Raises ``EnvelopeRejected`` (``MALFORMED``)."""
        if self._nonce is not None:
            self._refuse("a second server nonce", Rejection.MALFORMED)
        _require_nonce(server_nonce)
        self._nonce = server_nonce

    def open(self, chunk: SealedChunk) -> bytes | None:
        """Open the next frame: a whole message, or ``None`` when the message goes on.

        Raises ``EnvelopeRejected``; after that, everything is refused.
        """
        if self._failed:
            self._refuse("the answer was refused", Rejection.AFTER_END)
        if len(chunk.data) != FRAME_BYTES + TAG_BYTES:
            self._refuse("an answer frame of the wrong size", Rejection.MALFORMED)
        try:
            frame = self._opener.open(chunk) if self._opener else self._open_first(chunk)
            return self._assembler.push(frame, last=chunk.last)
        except EnvelopeRejected:
            self._failed = True
            raise

    def _open_first(self, chunk: SealedChunk) -> bytes:
        if self._nonce is None:
            self._refuse("a frame came before the server nonce", Rejection.MALFORMED)
        for node_id, secrets in self._candidates.items():
            opener = self._opener_for(node_id, secrets, self._nonce)
            try:
                frame = opener.open(chunk)
            except EnvelopeRejected:
                continue
            self._opener, self.node_id = opener, node_id
            self._candidates.clear()
            return frame
        return self._refuse("the answer opens for none of its nodes", Rejection.DECRYPTION)

    def _opener_for(self, node_id: bytes, secrets: RequestSecrets, nonce: bytes) -> ChunkOpener:
        return ChunkOpener(
            secrets.data_key + secrets.answer_secret,
            label=_label(node_id, nonce),
            header_digest=self._header_digest,
            limit=MAX_FRAMES,
        )

    def _refuse(self, message: str, reason: Rejection) -> NoReturn:
        self._failed = True
        raise EnvelopeRejected(message, reason=reason, hint=HINT)

    def __repr__(self) -> str:
        return f"AnswerOpener(finished={self.finished})"


def _label(node_id: bytes, server_nonce: bytes) -> bytes:
    return fields(LABEL_ANSWER, node_id, server_nonce)


def _require_nonce(server_nonce: bytes) -> None:
    if len(server_nonce) != SERVER_NONCE_BYTES:
        raise EnvelopeRejected(
            f"server nonce: {len(server_nonce)} bytes, expected {SERVER_NONCE_BYTES}",
            reason=Rejection.MALFORMED,
            hint=HINT,
        )
