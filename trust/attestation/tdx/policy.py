"""What TDX evidence a trust root accepts."""

import re
from dataclasses import dataclass
from typing import ClassVar, Self

from trust.attestation.tdx.refusals import TDX
from trust.attestation.tdx.verifier import TdxVerifier
from trust.strict import Fields

__all__ = ["INTEL_SGX_ROOT_SHA256", "TdxPolicy"]

INTEL_SGX_ROOT_SHA256 = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"
"""SHA-256 of the certificate ``Intel SGX Root CA``, the root of all platforms."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_STATUS = re.compile(
    "UpToDate|SWHardeningNeeded|ConfigurationNeeded|ConfigurationAndSWHardeningNeeded"
    "|OutOfDate|OutOfDateConfigurationNeeded"
)
"""Intel's words, without ``Revoked``: no policy can accept that."""
_ADVISORY = re.compile(r"INTEL-SA-[0-9]{5}")
_MAX_ROOTS = 4
_MAX_STATUSES = 6
_MAX_ADVISORIES = 64
_MAX_EVALUATION = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TdxPolicy:
    """Platforms under ``roots`` (SHA-256 of the root certificates, hex), in one of ``statuses``.

    ``advisories`` are those Intel may name for the platform; any other refuses it.
    ``minimum_evaluation`` is the least ``tcbEvaluationDataNumber`` of the collateral, so that
    statements from before a disclosure do not count, however long they are valid.
    """

    roots: tuple[str, ...]
    statuses: tuple[str, ...]
    advisories: tuple[str, ...]
    minimum_evaluation: int
    kind: ClassVar[str] = TDX
    unsafe: ClassVar[bool] = False

    def verifier(self) -> TdxVerifier:
        return TdxVerifier(self)

    def to_json(self) -> dict[str, object]:
        return {
            "roots": list(self.roots),
            "statuses": list(self.statuses),
            "advisories": list(self.advisories),
            "minimum_evaluation": self.minimum_evaluation,
        }

    @classmethod
    def from_json(cls, value: dict[str, object]) -> Self:
        """Raises ``TrustError`` (``malformed``)."""
        names = ("roots", "statuses", "advisories", "minimum_evaluation")
        read = Fields.exactly(value, names)
        return cls(
            roots=read.texts("roots", _SHA256, limit=_MAX_ROOTS),
            statuses=read.texts("statuses", _STATUS, limit=_MAX_STATUSES),
            advisories=read.texts("advisories", _ADVISORY, limit=_MAX_ADVISORIES),
            minimum_evaluation=read.number("minimum_evaluation", low=0, high=_MAX_EVALUATION),
        )
