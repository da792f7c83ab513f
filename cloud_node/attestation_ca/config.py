"""The attestation CA's configuration file."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from cloud_node.listening import ListenConfig
from cloud_node.service import ServiceConfig

__all__ = ["AttestationCaConfig"]

DAY_S = 24 * 3600
Pem = Annotated[str, Field(max_length=16 * 1024)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class AttestationCaConfig(ServiceConfig):
    """Whom it believes, whom it serves and what it signs with.

    Exactly one of ``ek_roots`` and ``unsafe_swtpm_roots`` is given: a CA is for hardware, or for
    software TPMs in development, never for both.
    """

    listen: ListenConfig
    profile: Literal["development", "production"]
    signing_key: Path
    """PEM of the P-256 key that attestation keys are certified with."""
    certificate: Path
    """PEM of its own certificate: the root that devices are given."""
    ek_roots: list[Pem] = Field([], max_length=64)
    """Vendors' roots for endorsement keys (PEM)."""
    ek_intermediates: list[Pem] = Field([], max_length=64)
    """What stands between those roots and endorsement keys; TPMs seldom store it."""
    unsafe_swtpm_roots: list[Pem] = Field([], max_length=4)
    """Roots of a software TPM's endorsement keys. Development only."""
    endorsement_keys: list[Digest] = Field([], max_length=4096)
    """SHA-256 of the endorsement keys (SPKI) it serves: the operator's own machines. Anybody can
    buy a TPM of the same vendor, so production has to name them; an empty list names everybody."""
    certificate_lifetime_s: int = Field(2 * DAY_S, ge=60, le=7 * DAY_S)
    challenge_lifetime_s: float = Field(30.0, gt=0, le=300)
    max_challenges: int = Field(64, ge=1, le=4096)
    """Open challenges at once; one more is refused as busy."""

    @model_validator(mode="after")
    def _hardware_or_not(self) -> "AttestationCaConfig":
        if bool(self.ek_roots) == bool(self.unsafe_swtpm_roots):
            raise ValueError("exactly one of ek_roots and unsafe_swtpm_roots is given")
        if self.profile != "development":
            if self.unsafe_swtpm_roots:
                raise ValueError("unsafe_swtpm_roots is refused outside development")
            if not self.endorsement_keys:
                raise ValueError("endorsement_keys has to name the machines it serves")
        return self
