"""The bundle a node shows: its keys, evidence for them, and the log's proof of what it runs."""

import asyncio
from collections.abc import Sequence

from cloud_node.node.keys import NodeKeys
from cloud_node.node.proof import ProofSource
from trust.attestation.evidence import Attester, Evidence
from trust.attestation.release import Release
from trust.bundle import LogProof, NodeBundle
from trust.log.merkle import leaf_hash

__all__ = ["BundleMaker"]


class BundleMaker:
    """Puts bundles together for one release on one machine."""

    def __init__(self, release: Release, attesters: Sequence[Attester], log: ProofSource) -> None:
        self._release = release
        self._attesters = sorted(attesters, key=lambda attester: attester.kind)
        self._log = log
        self._leaf_hash = leaf_hash(release.canonical())

    async def proof(self) -> LogProof:
        """The release's newest inclusion proof. Raises ``CloudUnavailable``."""
        return await self._log.inclusion(self._leaf_hash)

    async def make(self, keys: NodeKeys) -> NodeBundle:
        """A bundle for ``keys`` with fresh evidence and proof."""
        # In a thread: hardware takes its time.
        evidence = await asyncio.to_thread(self._attest, keys.report_data)
        return NodeBundle(
            hpke_public_key=keys.key.public_key,
            tls_certificate=keys.identity.certificate_der,
            not_before=keys.not_before,
            expires_at=keys.expires_at,
            evidence=evidence,
            release=self._release,
            proof=await self.proof(),
        )

    def _attest(self, report_data: bytes) -> tuple[Evidence, ...]:
        return tuple(each.attest(report_data) for each in self._attesters)
