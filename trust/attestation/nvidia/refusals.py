"""The kind's name, and refusals in its name."""

from lanai.errors import EvidenceRejected, Rejection

__all__ = ["NVIDIA", "rejected"]

NVIDIA = "nvidia"


def rejected(message: str, reason: Rejection, *, hint: str | None = None) -> EvidenceRejected:
    return EvidenceRejected(f"{NVIDIA} evidence: {message}", reason=reason, hint=hint)
