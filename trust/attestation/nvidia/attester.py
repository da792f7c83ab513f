"""Collects the reports of a node's GPUs through the driver's library (NVML)."""

import importlib
from collections.abc import Callable, Iterable
from typing import Protocol, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.evidence import Evidence
from trust.attestation.nvidia.payload import DeviceEvidence, encode
from trust.attestation.nvidia.refusals import NVIDIA, rejected

__all__ = ["NvidiaAttester", "Nvml"]

_PRODUCTION, _OFF = 2, 0


class SystemState(Protocol):
    """``nvmlConfComputeSystemState_t``."""

    environment: int
    devToolsMode: int  # noqa: N815  NVML's names


class GpuReport(Protocol):
    """``nvmlConfComputeGpuAttestationReport_t``: a buffer and how much of it is filled."""

    attestationReportSize: int  # noqa: N815
    attestationReport: Iterable[int]  # noqa: N815


class GpuCertificate(Protocol):
    """``nvmlConfComputeGpuCertificate_t``: PEM, the device's own certificate first."""

    attestationCertChainSize: int  # noqa: N815
    attestationCertChain: Iterable[int]  # noqa: N815


class Nvml(Protocol):
    """What is used of the module ``pynvml`` (PyPI ``nvidia-ml-py``)."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> object: ...  # noqa: N802
    def nvmlShutdown(self) -> object: ...  # noqa: N802
    def nvmlSystemGetConfComputeState(self) -> SystemState: ...  # noqa: N802
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: N802
    def nvmlDeviceGetHandleByIndex(self, index: int) -> object: ...  # noqa: N802
    def nvmlDeviceGetConfComputeGpuAttestationReport(  # noqa: N802
        self, device: object, nonce: bytes
    ) -> GpuReport: ...
    def nvmlDeviceGetConfComputeGpuCertificate(  # noqa: N802
        self, device: object
    ) -> GpuCertificate: ...


def _no_switches(report_data: bytes) -> Iterable[DeviceEvidence]:
    del report_data
    return ()


class NvidiaAttester:
    """Evidence of every GPU of this machine.

    ``nvml`` is imported when first needed if it is not given. NVML knows no switches: a machine
    that has some gives a callable that collects their reports (from NSCQ) for the report data.
    """

    kind = NVIDIA

    def __init__(
        self,
        nvml: Nvml | None = None,
        *,
        switches: Callable[[bytes], Iterable[DeviceEvidence]] = _no_switches,
    ) -> None:
        self._nvml = nvml
        self._switches = switches

    def attest(self, report_data: bytes) -> Evidence:
        """Evidence whose nonce is ``report_data`` (32 bytes).

        Raises ``EvidenceRejected``: ``evidence_missing`` (no driver, no GPU that attests),
        ``debug`` (development tools are on: such a GPU's memory can be read).
        """
        nvml = self._nvml or _load()
        try:
            nvml.nvmlInit()
            try:
                gpus = _gpus(nvml, report_data)
            finally:
                nvml.nvmlShutdown()
        except nvml.NVMLError as error:
            raise _missing("the driver gives no report", "is confidential computing on?") from error
        devices = [*gpus, *self._switches(report_data)]
        return Evidence(kind=self.kind, payload=encode(devices))


def _gpus(nvml: Nvml, nonce: bytes) -> list[DeviceEvidence]:
    state = nvml.nvmlSystemGetConfComputeState()
    if state.devToolsMode != _OFF or state.environment != _PRODUCTION:
        raise rejected("the GPUs run for development", Rejection.DEBUG)
    devices = []
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        report = nvml.nvmlDeviceGetConfComputeGpuAttestationReport(handle, nonce)
        chain = nvml.nvmlDeviceGetConfComputeGpuCertificate(handle)
        devices.append(
            DeviceEvidence(
                report=bytes(report.attestationReport)[: report.attestationReportSize],
                chain=_chain(bytes(chain.attestationCertChain)[: chain.attestationCertChainSize]),
            )
        )
    if not devices:
        raise _missing("this machine has no GPU", "the nvidia kind is for nodes that have some")
    return devices


def _chain(pem: bytes) -> tuple[bytes, ...]:
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise rejected("the driver's certificates are not PEM", Rejection.MALFORMED) from error
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in certificates)


def _load() -> Nvml:
    try:
        return cast("Nvml", importlib.import_module("pynvml"))
    except ImportError as error:
        hint = "install lanai[nvidia], which brings nvidia-ml-py"
        raise _missing("pynvml is not installed", hint) from error


def _missing(message: str, hint: str) -> EvidenceRejected:
    return rejected(message, Rejection.EVIDENCE_MISSING, hint=hint)
