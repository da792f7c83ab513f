"""A test authority in NVIDIA's place."""

import pytest

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.evidence import Claims, Evidence
from trust.attestation.nvidia import NVIDIA, DeviceEvidence, NvidiaPolicy
from trust.attestation.nvidia.payload import encode
from trust.attestation.nvidia.testing import UnsafeNvidiaAuthority, UnsafeNvidiaDevice

NOW = 1_800_000_000
REPORT_DATA = bytes(range(32))


class Factory:
    """One authority, one GPU, one policy; what a test changes is an argument of `verify`."""

    def __init__(self) -> None:
        self.authority = UnsafeNvidiaAuthority(now=NOW)
        self.gpu = UnsafeNvidiaDevice(self.authority)
        self.policy = self.authority.policy()

    def verify(
        self,
        *devices: DeviceEvidence,
        payload: bytes | None = None,
        policy: NvidiaPolicy | None = None,
        kind: str = NVIDIA,
        now: float = NOW,
    ) -> Claims:
        made = encode(devices or [self.gpu.evidence(REPORT_DATA)]) if payload is None else payload
        verifier = (policy or self.policy).verifier()
        evidence = Evidence(kind=kind, payload=made)
        return verifier.verify(evidence, report_data=REPORT_DATA, now=now)

    def refusal(self, *devices: DeviceEvidence, **changed) -> Rejection:
        with pytest.raises(EvidenceRejected) as caught:
            self.verify(*devices, **changed)
        return caught.value.reason


@pytest.fixture(scope="session")
def factory() -> Factory:
    return Factory()
