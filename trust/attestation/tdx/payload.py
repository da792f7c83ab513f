"""The payload: a quote and the collateral that judges it.

version 1 (1 byte) ‖ length (2 bytes, big-endian) ‖ quote ‖ collateral, canonical JSON
"""

from lanai.errors import Rejection
from trust.attestation.byte_reader import ByteReader
from trust.attestation.tdx.collateral import Collateral
from trust.attestation.tdx.quote import Quote
from trust.attestation.tdx.refusals import TDX, rejected

__all__ = ["decode", "encode"]

VERSION = 1


def encode(quote: bytes, collateral: Collateral) -> bytes:
    """The payload of these two."""
    return bytes((VERSION,)) + len(quote).to_bytes(2, "big") + quote + collateral.canonical()


def decode(payload: bytes) -> tuple[Quote, Collateral]:
    """Raises ``EvidenceRejected``, see `Quote.parse` and `Collateral.parse`."""
    reader = ByteReader(payload, TDX)
    if reader.big(1) != VERSION:
        raise rejected("the payload is of another version", Rejection.VERSION)
    quote = Quote.parse(reader.take(reader.big(2)))
    return quote, Collateral.parse(reader.rest())
