"""The measurement report of an NVIDIA device: one SPDM 1.1 request and its signed answer.

DMTF DSP0274 1.1, GET_MEASUREMENTS (10.11): the request with its nonce, the answer with measurement
blocks and vendor data, then an ECDSA P-384 signature over all of the above. Numbers are
little-endian, the signature's two are big-endian.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.byte_reader import ByteReader
from trust.attestation.nvidia.refusals import NVIDIA, rejected

__all__ = ["MAX_REPORT_BYTES", "NONCE_BYTES", "MeasurementReport"]

MAX_REPORT_BYTES = 16 * 1024
NONCE_BYTES = 32
_SIGNATURE_BYTES = 96
_REQUEST = bytes((0x11, 0xE0, 0x01, 0xFF))
"""Version 1.1, GET_MEASUREMENTS, signed, all measurements."""
_ANSWER = bytes((0x11, 0x60, 0x00, 0x00))
_SLOT = 0
_DMTF_DIGEST = 48
_DMTF_BLOCK = 3 + _DMTF_DIGEST
_RAW = 0x80


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementReport:
    """What a report says. Nothing in it is true before the signature was checked.

    ``measurements`` maps a block's index (from 1) to its SHA-384, ``fields`` the vendor data's
    field numbers to their bytes. ``signature`` is DER, over ``signed``.
    """

    nonce: bytes
    measurements: Mapping[int, bytes]
    fields: Mapping[int, bytes]
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> "MeasurementReport":
        """Raises ``EvidenceRejected``.

        ``too_large``, ``version`` (another message or version), ``truncated``, ``after_end``,
        ``malformed``.
        """
        if len(data) > MAX_REPORT_BYTES:
            raise rejected("the report is too long", Rejection.TOO_LARGE)
        reader = ByteReader(data, NVIDIA)
        # 1 the request
        _expect(reader, _REQUEST)
        nonce = reader.take(NONCE_BYTES)
        if reader.little(1) != _SLOT:
            raise rejected("the report is of another certificate slot", Rejection.VERSION)
        # 2 the answer
        _expect(reader, _ANSWER)
        count, size = reader.little(1), reader.little(3)
        measurements = _measurements(reader.take(size), count)
        reader.take(NONCE_BYTES)  # The device's own nonce.
        fields = _fields(reader.take(reader.little(2)))
        # 3 the signature
        signed = data[: reader.position]
        signature = _der(reader.take(_SIGNATURE_BYTES))
        reader.end()
        return cls(
            nonce=nonce,
            measurements=measurements,
            fields=fields,
            signed=signed,
            signature=signature,
        )


def _expect(reader: ByteReader, head: bytes) -> None:
    if reader.take(len(head)) != head:
        raise rejected("not a signed SPDM 1.1 measurement report", Rejection.VERSION)


def _measurements(record: bytes, count: int) -> dict[int, bytes]:
    """``count`` blocks, ascending by index: index, specification 1 (DMTF), size, type, digest."""
    reader = ByteReader(record, NVIDIA)
    found: dict[int, bytes] = {}
    for _ in range(count):
        index, specification, size = reader.little(1), reader.little(1), reader.little(2)
        if index <= max(found, default=0) or specification != 1 or size != _DMTF_BLOCK:
            raise _malformed("a measurement block is out of order or of another form")
        kind, digest_size = reader.little(1), reader.little(2)
        if kind & _RAW or digest_size != _DMTF_DIGEST:
            raise _malformed("a measurement is no SHA-384 digest")
        found[index] = reader.take(_DMTF_DIGEST)
    reader.end()
    return found


def _fields(opaque: bytes) -> dict[int, bytes]:
    """The vendor's fields: number, size, bytes; no number twice."""
    reader = ByteReader(opaque, NVIDIA)
    found: dict[int, bytes] = {}
    while reader.position < len(opaque):
        number, size = reader.little(2), reader.little(2)
        if number in found:
            raise _malformed("a vendor field is there twice")
        found[number] = reader.take(size)
    return found


def _der(signature: bytes) -> bytes:
    half = len(signature) // 2
    numbers = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
    return encode_dss_signature(*numbers)


def _malformed(message: str) -> EvidenceRejected:
    return rejected(message, Rejection.MALFORMED)
