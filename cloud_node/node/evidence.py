"""Which evidence a node presents: what its configuration names, and nothing it may not use."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import model_validator

from cloud_node.service import ServiceConfig
from cloud_node.tpm import Tpm2Attester, TpmConfig
from lanai.errors import ConfigError
from trust.attestation.evidence import Attester
from trust.attestation.nvidia import NvidiaAttester
from trust.attestation.release import Release
from trust.attestation.sev_snp import SevSnpAttester, SnpChain
from trust.attestation.tdx import TdxAttester
from trust.attestation.tsm import TSM_FOLDER, TsmReport
from trust.attestation.unsafe_software import UnsafeSoftwareAttester

__all__ = ["EvidenceConfig", "attesters_of"]


class SevSnpConfig(ServiceConfig):
    """The guest's own processor, through configfs-tsm."""

    tsm_folder: Path = TSM_FOLDER
    ark: Path | None = None
    ask: Path | None = None
    vek: Path | None = None
    """Certificates (DER) in place of those the host hands in. All three or none."""

    @model_validator(mode="after")
    def _whole_chain(self) -> "SevSnpConfig":
        if len({path is None for path in (self.ark, self.ask, self.vek)}) != 1:
            raise ValueError("ark, ask and vek are given together or not at all")
        return self

    @property
    def chain(self) -> SnpChain | None:
        """Raises ``ConfigError`` when a certificate cannot be read."""
        if self.ark is None or self.ask is None or self.vek is None:
            return None
        return SnpChain(ark=_bytes(self.ark), ask=_bytes(self.ask), vek=_bytes(self.vek))


class TdxConfig(ServiceConfig):
    """The guest's own processor, through configfs-tsm."""

    tsm_folder: Path = TSM_FOLDER
    collateral: Path
    """JSON of a PCCS client, renewed by the operator while the node runs."""


class EvidenceConfig(ServiceConfig):
    """Every source of evidence that this machine has. At least one."""

    unsafe_software_key: Path | None = None
    """Ed25519 private key (PEM) of software evidence. Development only."""
    tpm: TpmConfig | None = None
    """The machine's TPM; a software TPM in development only."""
    sev_snp: SevSnpConfig | None = None
    tdx: TdxConfig | None = None
    nvidia: bool = False
    """Every GPU of this machine, through NVML."""

    @property
    def unsafe(self) -> bool:
        """Whether part of it proves nothing about the machine."""
        return self.unsafe_software_key is not None or (self.tpm is not None and self.tpm.unsafe)


def attesters_of(config: EvidenceConfig, release: Release) -> tuple[Attester, ...]:
    """The attesters this machine has. Raises ``ConfigError`` when there is none.

    That unsafe ones are for development only, `NodeConfig` has seen to.
    """
    found: list[Attester] = []
    if config.unsafe_software_key is not None:
        found.append(UnsafeSoftwareAttester(_read_key(config.unsafe_software_key), release))
    if config.tpm is not None:
        found.append(Tpm2Attester.of(config.tpm, release))
    if (snp := config.sev_snp) is not None:
        found.append(SevSnpAttester(TsmReport(snp.tsm_folder), snp.chain))
    if (tdx := config.tdx) is not None:
        found.append(TdxAttester(TsmReport(tdx.tsm_folder), tdx.collateral.read_bytes))
    if config.nvidia:
        found.append(NvidiaAttester())
    if not found:
        raise ConfigError(
            "no evidence source is configured",
            hint="set tpm, sev_snp, tdx or nvidia; in development also unsafe_software_key",
        )
    return tuple(found)


def _read_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(_bytes(path), password=None)
    except (ValueError, TypeError):
        raise ConfigError(f"{path} holds no private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} holds no Ed25519 key")
    return key


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
