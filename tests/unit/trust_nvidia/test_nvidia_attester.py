"""The node's side, against a fake of NVML."""
# ruff: noqa: N802  NVML's names

import sys
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.nvidia import DeviceEvidence, NvidiaAttester
from trust.attestation.nvidia.testing import UnsafeNvidiaDevice

REPORT_DATA = bytes(range(32))


class NvmlFailure(Exception):
    pass


@dataclass
class FakeNvml:
    """NVML as `pynvml` shows it: fixed buffers, and how much of each is filled."""

    devices: list[UnsafeNvidiaDevice]
    development: int = 0
    fails: bool = False
    open: int = 0
    NVMLError: type[Exception] = field(default=NvmlFailure)

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlSystemGetConfComputeState(self):
        return SimpleNamespace(environment=2, ccFeature=1, devToolsMode=self.development)

    def nvmlDeviceGetCount(self) -> int:
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> UnsafeNvidiaDevice:
        return self.devices[index]

    def nvmlDeviceGetConfComputeGpuAttestationReport(self, device, nonce: bytes):
        if self.fails:
            raise NvmlFailure
        report = device.evidence(nonce).report
        return SimpleNamespace(
            attestationReport=list(report.ljust(0x2000, b"\0")), attestationReportSize=len(report)
        )

    def nvmlDeviceGetConfComputeGpuCertificate(self, device):
        pem = b"".join(
            x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in device.chain
        )
        return SimpleNamespace(
            attestationCertChain=list(pem.ljust(0x1400, b"\0")), attestationCertChainSize=len(pem)
        )


def refusal(attester: NvidiaAttester) -> EvidenceRejected:
    with pytest.raises(EvidenceRejected) as caught:
        attester.attest(REPORT_DATA)
    return caught.value


def test_what_the_node_attests_the_device_accepts(factory) -> None:
    """Every GPU's report and chain become evidence, and the library is closed again."""
    nvml = FakeNvml([factory.gpu, UnsafeNvidiaDevice(factory.authority)])
    evidence = NvidiaAttester(nvml).attest(REPORT_DATA)
    claims = factory.verify(payload=evidence.payload)
    assert claims.measurements["gpus"] == "2"
    assert nvml.open == 0


def test_switches_are_collected_by_the_operators_callable(factory) -> None:
    """NVML knows no switches; their reports are for the same report data."""
    switch = UnsafeNvidiaDevice(factory.authority, model="LS_10")

    def collect(report_data: bytes) -> list[DeviceEvidence]:
        return [switch.evidence(report_data, driver=b"")]

    evidence = NvidiaAttester(FakeNvml([factory.gpu]), switches=collect).attest(REPORT_DATA)
    assert factory.verify(payload=evidence.payload).measurements["switches"] == "1"


def test_development_tools_are_refused_at_the_node(factory) -> None:
    """With them on, the GPU's memory can be read: no evidence is made."""
    nvml = FakeNvml([factory.gpu], development=1)
    assert refusal(NvidiaAttester(nvml)).reason is Rejection.DEBUG
    assert nvml.open == 0


@pytest.mark.parametrize("devices", [0, 1])
def test_a_machine_that_cannot_attest_says_so(factory, devices: int) -> None:
    """No GPU, or a driver that gives no report, is one refusal with a hint."""
    nvml = FakeNvml([factory.gpu] * devices, fails=True)
    refused = refusal(NvidiaAttester(nvml))
    assert refused.reason is Rejection.EVIDENCE_MISSING
    assert refused.hint
    assert nvml.open == 0


def test_a_missing_library_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pynvml the attester says what to install."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    refused = refusal(NvidiaAttester())
    assert (refused.reason, refused.hint) == (
        Rejection.EVIDENCE_MISSING,
        "install lanai[nvidia], which brings nvidia-ml-py",
    )
