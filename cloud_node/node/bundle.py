"""The bundle a node shows: its keys, evidence for them, and the log's proof of what it runs."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cloud_node.node.config import NodeConfig
from cloud_node.node.keys import NodeKeys
from cloud_node.node.proof import ProofSource
from cloud_node.tpm import Tpm2Attester
from lanai.errors import ConfigError
from trust.attestation.evidence import Attester, Evidence
from trust.attestation.release import Release
from trust.attestation.unsafe_software import UnsafeSoftwareAttester
from trust.bundle import LogProof, NodeBundle
from trust.log.merkle import leaf_hash

__all__ = ["BundleMaker", "attesters_of"]


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


def attesters_of(config: NodeConfig, release: Release) -> tuple[Attester, ...]:
    """The attesters this machine has. Raises ``ConfigError`` when there is none it may use."""
    found: list[Attester] = []
    if config.unsafe_software_key_file is not None:
        if config.profile != "development":
            raise ConfigError("unsafe_software evidence is refused outside development")
        key = _read_key(Path(config.unsafe_software_key_file))
        found.append(UnsafeSoftwareAttester(key, release))
    if config.tpm is not None:
        found.append(Tpm2Attester.of(config.tpm, release))
    if not found:
        raise ConfigError(
            "no evidence source is configured",
            hint="set tpm; in development also unsafe_software_key_file",
        )
    return tuple(found)


def _read_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, TypeError):
        raise ConfigError(f"{path} holds no private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} holds no Ed25519 key")
    return key
