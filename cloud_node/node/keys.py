"""A node's keys as its front knows them: the TLS key, and the public half of the keyholder's."""

from dataclasses import dataclass

from cloud_node.identity import TlsIdentity
from cloud_node.tree.keyholder import KeyOffer
from trust.attestation.report_data import report_data

__all__ = ["NodeKeys"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKeys:
    """One X-Wing key and one TLS key that were attested together."""

    offer: KeyOffer
    identity: TlsIdentity

    @property
    def node_id(self) -> bytes:
        return self.offer.node_id

    @property
    def expires_at(self) -> int:
        """Unix seconds."""
        return self.offer.expires_at

    @property
    def half_life(self) -> float:
        """When successors should be announced: half of the time is left for what was sealed."""
        return (self.offer.not_before + self.offer.expires_at) / 2

    @property
    def report_data(self) -> bytes:
        """What the evidence for these keys is bound to."""
        offer = self.offer
        return report_data(
            offer.public_key, self.identity.spki_sha256, offer.not_before, offer.expires_at
        )
