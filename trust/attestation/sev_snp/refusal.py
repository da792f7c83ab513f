"""The one error of this kind."""

from typing import Final

from lanai.errors import EvidenceRejected, Rejection

__all__ = ["SEV_SNP", "malformed", "rejected"]

SEV_SNP: Final = "sev_snp"


def rejected(message: str, reason: Rejection) -> EvidenceRejected:
    return EvidenceRejected(f"{SEV_SNP} evidence: {message}", reason=reason)


def malformed(message: str) -> EvidenceRejected:
    return rejected(message, Rejection.MALFORMED)
