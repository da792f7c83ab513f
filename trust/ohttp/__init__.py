"""Oblivious HTTP's encapsulation, whole (RFC 9458) and chunked (draft-ietf-ohai-chunked-ohttp).

A message sealed to a gateway's key, and its answer, so that the relay between them carries bytes it
cannot read. Lanai sends its own frames this way, not HTTP: the labels say so (RFC 9458, section
4.6), and the encapsulation is the standard's to the byte.

Trusts `trust.hpke` and the gateway key it is given; the caller has verified that key in the log.
Refuses, with ``EnvelopeRejected`` and a reason, what was changed, reordered, repeated, dropped or
cut. It does not stop a whole message from being sent again: what is inside must (a token is spent
once, a request id burned once).

Sans-IO. A chunk is one piece of bytes with its length in front; pieces put together are the
standard's message.

    device                                        gateway
    ------                                        -------
    sealer = RequestSealer(key, media=…)          opener = keys.open(piece, media=…)
    sealer.seal(frame) ──▶ piece ──▶              opener.open(piece)
    answer = sealer.response()                    answer = opener.response()
    answer.open(piece)            ◀── piece ◀──   answer.seal(frame)
"""

from trust.ohttp.chunked import RequestOpener, RequestSealer, ResponseOpener, ResponseSealer
from trust.ohttp.configuration import KeyConfiguration, Symmetric
from trust.ohttp.gateway_key import GatewayKey, GatewayKeys, configuration_of, key_id
from trust.ohttp.media import EXCHANGE, FETCH
from trust.ohttp.pieces import MAX_PIECE_BYTES, join_chunk, split_chunk, split_message
from trust.ohttp.whole import open_request, open_response, seal_request, seal_response

__all__ = [
    "EXCHANGE",
    "FETCH",
    "MAX_PIECE_BYTES",
    "GatewayKey",
    "GatewayKeys",
    "KeyConfiguration",
    "RequestOpener",
    "RequestSealer",
    "ResponseOpener",
    "ResponseSealer",
    "Symmetric",
    "configuration_of",
    "join_chunk",
    "key_id",
    "open_request",
    "open_response",
    "seal_request",
    "seal_response",
    "split_chunk",
    "split_message",
]
