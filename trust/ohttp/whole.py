"""OHTTP in one piece (RFC 9458, section 4): for messages that need no chunks, and its vectors."""

import os

from cryptography.exceptions import InvalidTag

from lanai.errors import EnvelopeRejected, Rejection
from trust.hpke import Opener, PrivateKey, Sealer, Suite
from trust.ohttp.configuration import HEADER_BYTES, KeyConfiguration, header, parse_header
from trust.ohttp.response import ResponseKeys, response_nonce_bytes

__all__ = ["open_request", "open_response", "seal_request", "seal_response"]


def seal_request(
    configuration: KeyConfiguration, request: bytes, *, media: str, suite: Suite | None = None
) -> tuple[bytes, Sealer]:
    """The encapsulated request, and what ``open_response`` needs. ``suite`` is for vectors."""
    suite = suite or configuration.suite
    start = header(configuration.key_id, suite)
    context = suite.seal_to(configuration.public_key, info=_info(media, start))
    return start + context.enc + context.seal(request), context


def open_request(key: PrivateKey, sealed: bytes, *, media: str) -> tuple[bytes, Opener]:
    """The request, and what ``seal_response`` needs. Raises ``EnvelopeRejected``."""
    _, suite = parse_header(sealed)
    start, end = sealed[:HEADER_BYTES], HEADER_BYTES + suite.kem.enc_bytes
    context = suite.open_with(key, sealed[HEADER_BYTES:end], info=_info(media, start))
    return context.open(sealed[end:]), context


def seal_response(
    context: Opener, response: bytes, *, media: str, nonce: bytes | None = None
) -> bytes:
    """The encapsulated response; ``nonce`` is random, pass one in tests only."""
    nonce = os.urandom(response_nonce_bytes(context)) if nonce is None else nonce
    keys = ResponseKeys.derive(context, label=_label(media), response_nonce=nonce)
    return nonce + keys.cipher.encrypt(keys.nonce(0), response, b"")


def open_response(context: Sealer, sealed: bytes, *, media: str) -> bytes:
    """The response. Raises ``EnvelopeRejected``."""
    size = response_nonce_bytes(context)
    keys = ResponseKeys.derive(context, label=_label(media), response_nonce=sealed[:size])
    try:
        return keys.cipher.decrypt(keys.nonce(0), sealed[size:], b"")
    except (InvalidTag, ValueError):
        raise EnvelopeRejected("the response does not open", reason=Rejection.DECRYPTION) from None


def _info(media: str, start: bytes) -> bytes:
    return f"{media} request\x00".encode("ascii") + start


def _label(media: str) -> bytes:
    return f"{media} response".encode("ascii")
