"""The kind's name, and refusals in its name."""

from lanai.errors import EvidenceRejected, Rejection

__all__ = ["TDX", "malformed", "rejected"]

TDX = "tdx"


def rejected(message: str, reason: Rejection, *, hint: str | None = None) -> EvidenceRejected:
    return EvidenceRejected(f"{TDX} evidence: {message}", reason=reason, hint=hint)


def malformed(message: str) -> EvidenceRejected:
    return rejected(message, Rejection.MALFORMED)
