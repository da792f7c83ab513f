"""The payload: the reports of a node's devices, and each certificate once.

    version 1 (1 byte) ‖ count (1) ‖ { length (2) ‖ certificate, DER }
                       ‖ count (1) ‖ { length (2) ‖ report ‖ count (1) ‖ index of certificate (1) }

Numbers are big-endian. Indexes go from a device's own certificate to the root. There is one
encoding only: devices ascend by report, certificates are in the order of their first use, each is
used, none is there twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.byte_reader import ByteReader
from trust.attestation.nvidia.refusals import NVIDIA, rejected

__all__ = ["MAX_DEVICES", "DeviceEvidence", "decode", "encode"]

VERSION = 1
MAX_DEVICES = 16
"""Eight GPUs and four switches are the largest machine NVIDIA attests as one."""
_MAX_CHAIN = 8
_MAX_CERTIFICATES = MAX_DEVICES * _MAX_CHAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEvidence:
    """One device: its SPDM report and its certificates (DER), its own first, the root last."""

    report: bytes = field(repr=False)
    chain: tuple[bytes, ...] = field(repr=False)


def encode(devices: Sequence[DeviceEvidence]) -> bytes:
    """The payload of these devices, in any order."""
    devices = sorted(devices, key=lambda device: device.report)
    table = list(dict.fromkeys(der for device in devices for der in device.chain))
    parts = [bytes((VERSION, len(table)))]
    parts += [_sized(der) for der in table]
    parts.append(bytes((len(devices),)))
    for device in devices:
        indexes = bytes(table.index(der) for der in device.chain)
        parts += [_sized(device.report), bytes((len(indexes),)), indexes]
    return b"".join(parts)


def decode(payload: bytes) -> tuple[DeviceEvidence, ...]:
    """Raises ``EvidenceRejected``: ``version``, ``truncated``, ``after_end``, ``malformed``."""
    reader = ByteReader(payload, NVIDIA)
    if reader.big(1) != VERSION:
        raise rejected("the payload is of another version", Rejection.VERSION)
    table = [reader.take(reader.big(2)) for _ in range(_count(reader, _MAX_CERTIFICATES))]
    devices = tuple(_device(reader, table) for _ in range(_count(reader, MAX_DEVICES)))
    reader.end()
    keys = {device.chain[0] for device in devices}
    if len(keys) != len(devices) or encode(devices) != payload:
        raise _malformed("the payload is not in its one encoding")
    return devices


def _device(reader: ByteReader, table: Sequence[bytes]) -> DeviceEvidence:
    report = reader.take(reader.big(2))
    indexes = reader.take(_count(reader, _MAX_CHAIN))
    if max(indexes) >= len(table):
        raise _malformed("a certificate is not there")
    return DeviceEvidence(report=report, chain=tuple(table[index] for index in indexes))


def _count(reader: ByteReader, limit: int) -> int:
    count = reader.big(1)
    if not 0 < count <= limit:
        raise _malformed("no or too many parts")
    return count


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _malformed(message: str) -> EvidenceRejected:
    return rejected(message, Rejection.MALFORMED)
