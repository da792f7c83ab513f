"""The payload of ``sev_snp`` evidence: one encoding for a report and its three certificates.

    report (1184) || 3 x ( length (2, big-endian) || certificate, DER )

The certificates are root (ARK), intermediate (ASK, or ASVK for a VLEK) and the key that signed the
report (VCEK or VLEK), in this order. Nothing follows the last one.
"""

from dataclasses import dataclass, field
from typing import Final

from lanai.errors import Rejection
from trust.attestation.sev_snp.certificate import MAX_CERTIFICATE_BYTES
from trust.attestation.sev_snp.refusal import malformed, rejected
from trust.attestation.sev_snp.report import REPORT_BYTES

__all__ = ["SnpChain", "SnpPayload"]

_LENGTH: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SnpChain:
    """Three certificates, DER: root, intermediate, and the key of the chip or the provider."""

    ark: bytes = field(repr=False)
    ask: bytes = field(repr=False)
    vek: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnpPayload:
    """A report and the chain of the key that signed it."""

    report: bytes = field(repr=False)
    chain: SnpChain

    def encode(self) -> bytes:
        certificates = (self.chain.ark, self.chain.ask, self.chain.vek)
        return self.report + b"".join(
            len(der).to_bytes(_LENGTH, "big") + der for der in certificates
        )

    @classmethod
    def decode(cls, data: bytes) -> "SnpPayload":
        """Raises ``EvidenceRejected`` (``malformed``, ``too_large``)."""
        if len(data) > REPORT_BYTES + 3 * (_LENGTH + MAX_CERTIFICATE_BYTES):
            raise rejected("the payload is too long", Rejection.TOO_LARGE)
        report, rest = data[:REPORT_BYTES], data[REPORT_BYTES:]
        ark, rest = _take(rest)
        ask, rest = _take(rest)
        vek, rest = _take(rest)
        if rest:
            raise malformed("the payload has more than a report and three certificates")
        return cls(report=report, chain=SnpChain(ark=ark, ask=ask, vek=vek))


def _take(data: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(data[:_LENGTH], "big")
    certificate, rest = data[_LENGTH : _LENGTH + length], data[_LENGTH + length :]
    if not 0 < length == len(certificate):
        raise malformed("the payload ends inside a certificate")
    return certificate, rest
