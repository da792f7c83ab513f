"""Where a node finds its TPM, and who certifies its attestation key."""

from pathlib import Path

from pydantic import model_validator

from cloud_node.service import PinnedEndpoint, ServiceConfig
from cloud_node.tpm.address import TpmAddress
from lanai.errors import ConfigError

__all__ = ["TpmConfig"]


class TpmConfig(ServiceConfig):
    """Exactly one of ``device`` and ``unsafe_swtpm_socket`` names the TPM."""

    device: str | None = None
    """A resource-managed TPM device: ``/dev/tpmrm0``."""
    unsafe_swtpm_socket: str | None = None
    """Unix socket of a software TPM. Development only."""
    authority: PinnedEndpoint
    """The operator's attestation CA."""
    event_file: Path
    """The node's event log, shared by all nodes on this machine, gone when it restarts."""
    boot_log: Path | None = Path("/sys/kernel/security/tpm0/binary_bios_measurements")
    """The firmware's event log; left out of evidence where there is none."""

    @model_validator(mode="after")
    def _one_tpm(self) -> "TpmConfig":
        if (self.device is None) == (self.unsafe_swtpm_socket is None):
            raise ValueError("exactly one of device and unsafe_swtpm_socket names the TPM")
        return self

    @property
    def unsafe(self) -> bool:
        """Whether the TPM is a program."""
        return self.unsafe_swtpm_socket is not None

    @property
    def address(self) -> TpmAddress:
        """Where to open it."""
        path = self.unsafe_swtpm_socket or self.device
        if path is None:
            raise ConfigError("no TPM is named")
        return TpmAddress(path=path, unsafe_swtpm=self.unsafe)
