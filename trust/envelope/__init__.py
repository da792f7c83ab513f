"""The sealed request and its answer: one body for K nodes, readable by those nodes alone.

Trusts `cryptography` and the verified nodes it is given; every byte from the wire is outside data.
Refuses, with ``EnvelopeRejected`` and a reason, whatever differs in one bit from what was sealed,
what was reordered, dropped, repeated, cut short or sent after the end, and what breaks a limit.

Sans-IO. ``docs/envelope.md`` gives every byte that is bound. The wire is ``v1alpha``: not stable.

    device                                         node
    ------                                         ----
    sealed = seal_request(body, nodes, …)   ──▶    request = open_request(header, key, …)
                                                   body = request.body(chunks)
    sealed.opener.start(server_nonce)       ◀──    answer = request.answer()
    sealed.opener.open(chunk)               ◀──    answer.seal(message, last=…)
"""

from trust.envelope.answer import AnswerOpener, AnswerSealer
from trust.envelope.chunks import CHUNK_BYTES, SealedChunk
from trust.envelope.framing import (
    FRAME_BYTES,
    FRAME_ROOM,
    MAX_BODY_BYTES,
    MAX_CHUNKS,
    MAX_MESSAGE_BYTES,
    frames,
)
from trust.envelope.header import (
    MAX_LIFETIME_S,
    MAX_NODES,
    SERVER_NONCE_BYTES,
    VERSION,
    EnvelopeHeader,
    WrappedKey,
)
from trust.envelope.keys import NodeKey
from trust.envelope.request import (
    OpenRequest,
    Recipient,
    SealedRequest,
    open_request,
    seal_request,
)
from trust.envelope.shape import SMALLEST_TOTAL, TICK_S, constant_total, is_constant_total

__all__ = [
    "CHUNK_BYTES",
    "FRAME_BYTES",
    "FRAME_ROOM",
    "MAX_BODY_BYTES",
    "MAX_CHUNKS",
    "MAX_LIFETIME_S",
    "MAX_MESSAGE_BYTES",
    "MAX_NODES",
    "SERVER_NONCE_BYTES",
    "SMALLEST_TOTAL",
    "TICK_S",
    "VERSION",
    "AnswerOpener",
    "AnswerSealer",
    "EnvelopeHeader",
    "NodeKey",
    "OpenRequest",
    "Recipient",
    "SealedChunk",
    "SealedRequest",
    "WrappedKey",
    "constant_total",
    "frames",
    "is_constant_total",
    "open_request",
    "seal_request",
]
