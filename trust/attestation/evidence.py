"""Evidence, the claims a verifier draws from it, and the seams between node and device."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from lanai.errors import Rejection, TrustError
from trust.strict import malformed

__all__ = ["KIND", "MAX_PAYLOAD_BYTES", "Attester", "Claims", "Evidence", "Verifier"]

KIND = re.compile(r"[a-z][a-z0-9_]{0,31}")
MAX_PAYLOAD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Output of one attester: what kind it is and bytes only that kind's verifier reads."""

    kind: str
    payload: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if KIND.fullmatch(self.kind) is None:
            raise malformed("an evidence kind is a short lower-case word")
        if not 0 < len(self.payload) <= MAX_PAYLOAD_BYTES:
            raise TrustError("evidence of no or too many bytes", reason=Rejection.TOO_LARGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What verified evidence says of the machine: measurements by name, hex or short words.

    ``software``, ``weights`` and ``configuration`` are digests of the release record itself; other
    names are a kind's own, and the release record lists their golden values.
    """

    kind: str
    measurements: Mapping[str, str]


class Attester(Protocol):
    """The node's side of one evidence kind."""

    @property
    def kind(self) -> str:
        """The word that names this kind on the wire."""

    def attest(self, report_data: bytes) -> Evidence:
        """Evidence bound to ``report_data`` (32 bytes)."""


class Verifier(Protocol):
    """The device's side of one evidence kind."""

    @property
    def kind(self) -> str:
        """The word that names this kind on the wire."""

    def verify(self, evidence: Evidence, *, report_data: bytes, now: float) -> Claims:
        """Claims of evidence that is bound to ``report_data``. Raises ``EvidenceRejected``."""
