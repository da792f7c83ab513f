"""The bundle a node shows: its keys, evidence for them, and the log's proof of what it runs."""

from cloud_node.node.keys import NodeKeys
from cloud_node.node.proof import ProofSource
from trust.attestation.release import Release
from trust.bundle import NodeBundle
from trust.log.merkle import leaf_hash

__all__ = ["BundleMaker"]


class BundleMaker:
    """Puts bundles together for one release."""

    def __init__(self, release: Release, log: ProofSource) -> None:
        self._release = release
        self._log = log
        self._leaf_hash = leaf_hash(release.canonical())

    async def make(self, keys: NodeKeys) -> NodeBundle:
        """A bundle for ``keys`` with the newest proof. Raises ``CloudUnavailable``."""
        offer = keys.offer
        return NodeBundle(
            hpke_public_key=offer.public_key,
            tls_certificate=keys.identity.certificate_der,
            not_before=offer.not_before,
            expires_at=offer.expires_at,
            evidence=offer.evidence,
            release=self._release,
            proof=await self._log.inclusion(self._leaf_hash),
        )
