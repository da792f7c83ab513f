"""The TD report inside a quote: what the TDX module measured and how the guest was started.

Intel, *Intel TDX Module Base Architecture Specification*, TDREPORT_STRUCT and ATTRIBUTES.
"""

from dataclasses import dataclass
from typing import ClassVar

from lanai.errors import Rejection
from trust.attestation.byte_reader import ByteReader
from trust.attestation.tdx.refusals import TDX, rejected

__all__ = ["TdReport"]

_HASH = 48
_DEBUG = 0xFF
"""ATTRIBUTES.TUD: bit 0 lets the host read and write the guest; the others are reserved."""
_SEPT_VE_DISABLE = 1 << 28
_ALLOWED = _SEPT_VE_DISABLE | 1 << 30 | 1 << 31
"""Beside it, supervisor protection keys (30) and Key Locker (31), which the guest alone uses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TdReport:
    """Fields of a TD 1.0 or 1.5 report that are judged or claimed."""

    tee_tcb_svn: bytes
    mrseam: bytes
    attributes: int
    xfam: bytes
    mrtd: bytes
    mrconfigid: bytes
    mrowner: bytes
    mrownerconfig: bytes
    rtmr: tuple[bytes, ...]
    report_data: bytes
    service_td: bytes

    SIZE_10: ClassVar[int] = 584
    SIZE_15: ClassVar[int] = 648

    @classmethod
    def parse(cls, data: bytes) -> "TdReport":
        """``data`` is of one of the two sizes. Raises ``EvidenceRejected``."""
        reader = ByteReader(data, TDX)
        tee_tcb_svn, mrseam = reader.take(16), reader.take(_HASH)
        reader.take(_HASH + 8)  # The module's signer and attributes: the TCB information judges.
        return cls(
            tee_tcb_svn=tee_tcb_svn,
            mrseam=mrseam,
            attributes=reader.little(8),
            xfam=reader.take(8),
            mrtd=reader.take(_HASH),
            mrconfigid=reader.take(_HASH),
            mrowner=reader.take(_HASH),
            mrownerconfig=reader.take(_HASH),
            rtmr=tuple(reader.take(_HASH) for _ in range(4)),
            report_data=reader.take(64),
            service_td=reader.rest()[16:],
        )

    def check_guest(self) -> None:
        """Raises ``EvidenceRejected`` (``debug``, ``guest_policy``).

        SEPT_VE_DISABLE keeps the host from injecting faults by taking a page away. Performance
        counters and migration would let the host watch or move the guest, and a service TD
        speak for it.
        """
        if self.attributes & _DEBUG:
            raise rejected("the guest may be debugged", Rejection.DEBUG)
        if not self.attributes & _SEPT_VE_DISABLE or self.attributes & ~_ALLOWED:
            raise rejected("the guest's attributes are not allowed", Rejection.GUEST_POLICY)
        if self.service_td.strip(b"\0"):
            raise rejected("a service TD is bound to the guest", Rejection.GUEST_POLICY)

    def measurements(self) -> dict[str, str]:
        """Measurements by name, hex."""
        runtime = {f"rtmr{index}": value.hex() for index, value in enumerate(self.rtmr)}
        return {
            "mrtd": self.mrtd.hex(),
            **runtime,
            "mrconfigid": self.mrconfigid.hex(),
            "mrowner": self.mrowner.hex(),
            "mrownerconfig": self.mrownerconfig.hex(),
            "mrseam": self.mrseam.hex(),
            "attributes": self.attributes.to_bytes(8, "little").hex(),
            "xfam": self.xfam.hex(),
            "tee_tcb_svn": self.tee_tcb_svn.hex(),
        }
