"""The attestation report: 1184 bytes by the AMD SEV-SNP ABI (AMD 56860, "ATTESTATION_REPORT").

Versions 2 to 5, which differ in what was reserved before: 3 brings the processor's family (4 moves
nothing), 5 the mitigation vectors. Reserved bytes must be zero, and so must the bytes after the
signature, which it does not cover.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from lanai.errors import Rejection
from trust.attestation.sev_snp.refusal import malformed, rejected

__all__ = ["REPORT_BYTES", "SigningKey", "SnpReport"]

REPORT_BYTES: Final = 1184
_VERSIONS: Final = range(2, 6)
_ECDSA_P384_SHA384: Final = 1
_SIGNED: Final = slice(0, 0x2A0)
# Each half has 72 bytes, little-endian, of which P-384 uses 48.
_R: Final = slice(0x2A0, 0x2D0)
_S: Final = slice(0x2E8, 0x318)
_NO_MIGRATION_AGENT: Final = b"\xff" * 32
_RESERVED: Final = (
    (0x04C, 0x050),
    (0x18B, 0x1A0),
    (0x1EB, 0x1EC),
    (0x1EF, 0x1F0),
    (0x208, 0x2A0),
    (0x2D0, 0x2E8),
    (0x318, 0x4A0),
)
_RESERVED_BEFORE: Final = {3: (0x188, 0x18B), 5: (0x1F8, 0x208)}
_POLICY_ONE: Final = 1 << 17
_POLICY_DEFINED: Final = (1 << 26) - 1
_FLAGS_DEFINED: Final = 0x1F


class SigningKey(IntEnum):
    """What signed a report: the chip's own key, or one AMD gave to a cloud provider."""

    VCEK = 0
    VLEK = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SnpReport:
    """The fields that are judged. TCB versions are 8 bytes, to be read by product line.

    ``guest_policy`` and ``platform_info`` are bit fields, ``abi`` the firmware interface (major,
    minor) the guest asked for, ``cpu_family`` is None before version 3.
    """

    version: int
    guest_policy: int
    abi: tuple[int, int]
    vmpl: int
    signing_key: SigningKey
    author_key: bool
    platform_info: int
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    migration_agent: bool
    current_tcb: bytes
    reported_tcb: bytes
    launch_tcb: bytes
    cpu_family: int | None
    chip_id: bytes
    signed: bytes = field(repr=False)
    signature: tuple[int, int] = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> "SnpReport":
        """Read a report. Raises ``EvidenceRejected``: ``malformed``, ``version``, ``signature``."""
        # 1 a form we know
        if len(data) != REPORT_BYTES:
            raise malformed("a report has 1184 bytes")
        version = _number(data, 0x00, 4)
        if version not in _VERSIONS:
            raise rejected("a report version this program does not know", Rejection.VERSION)
        _check_reserved(data, version)
        # 2 whole bit fields
        policy = _number(data, 0x08, 8)
        if policy & ~_POLICY_DEFINED or not policy & _POLICY_ONE:
            raise malformed("a reserved bit of the guest policy is not as it must be")
        flags = _number(data, 0x48, 4)
        return cls(
            version=version,
            guest_policy=policy,
            abi=(policy >> 8 & 0xFF, policy & 0xFF),
            vmpl=_number(data, 0x30, 4),
            signing_key=_signing_key(flags),
            author_key=bool(flags & 1),
            platform_info=_number(data, 0x40, 8),
            report_data=data[0x50:0x90],
            measurement=data[0x90:0xC0],
            host_data=data[0xC0:0xE0],
            id_key_digest=data[0xE0:0x110],
            author_key_digest=data[0x110:0x140],
            migration_agent=data[0x160:0x180] != _NO_MIGRATION_AGENT,
            current_tcb=data[0x38:0x40],
            reported_tcb=data[0x180:0x188],
            launch_tcb=data[0x1F0:0x1F8],
            cpu_family=data[0x188] if version >= 3 else None,
            chip_id=data[0x1A0:0x1E0],
            signed=data[_SIGNED],
            signature=(int.from_bytes(data[_R], "little"), int.from_bytes(data[_S], "little")),
        )


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _check_reserved(data: bytes, version: int) -> None:
    early = [span for since, span in _RESERVED_BEFORE.items() if version < since]
    if any(any(data[start:end]) for start, end in (*_RESERVED, *early)):
        raise malformed("a reserved byte of the report is set")
    if _number(data, 0x34, 4) != _ECDSA_P384_SHA384:
        raise rejected("the report is not signed by ECDSA P-384", Rejection.SIGNATURE)


def _signing_key(flags: int) -> SigningKey:
    """Bits 2 to 4; 7 stands for no key, as where the operator masks the chip's."""
    if flags & ~_FLAGS_DEFINED:
        raise malformed("a reserved flag of the report is set")
    key = flags >> 2 & 7
    if key not in (SigningKey.VCEK, SigningKey.VLEK):
        raise rejected("the report is not signed", Rejection.SIGNATURE)
    return SigningKey(key)
