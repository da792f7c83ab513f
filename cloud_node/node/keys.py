"""A node's keys: made in its memory at start, named by their hash, gone with the process."""

from dataclasses import dataclass

from cloud_node.identity import TlsIdentity
from trust.attestation.report_data import report_data
from trust.envelope import NodeKey

__all__ = ["NodeKeys"]

# Clocks of devices may be a little behind; a bundle from their future would be refused.
BACKDATE_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKeys:
    """One X-Wing key and one TLS key with the time they hold, in Unix seconds."""

    key: NodeKey
    identity: TlsIdentity
    not_before: int
    expires_at: int

    @classmethod
    def generate(cls, name: str, *, lifetime_s: int, now: float) -> "NodeKeys":
        """Fresh keys that hold for ``lifetime_s`` seconds in all."""
        not_before = int(now) - BACKDATE_S
        return cls(
            key=NodeKey.generate(),
            identity=TlsIdentity.generate(name, lifetime_s=lifetime_s),
            not_before=not_before,
            expires_at=not_before + lifetime_s,
        )

    @property
    def node_id(self) -> bytes:
        return self.key.node_id

    @property
    def half_life(self) -> float:
        """When successors should be announced: half of the time is left for what was sealed."""
        return (self.not_before + self.expires_at) / 2

    @property
    def report_data(self) -> bytes:
        """What evidence for these keys is bound to."""
        return report_data(
            self.key.public_key, self.identity.spki_sha256, self.not_before, self.expires_at
        )
