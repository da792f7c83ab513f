"""Samples of kind ``nvidia``: captured reports of Hopper GPUs and of NVLink switches."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from bench.flips.sample import FlipSample
from trust.attestation.evidence import Evidence
from trust.attestation.nvidia import (
    DEVICE_IDENTITY_ROOT_SHA256,
    NVIDIA,
    DeviceEvidence,
    NvidiaPolicy,
)
from trust.attestation.nvidia.payload import encode

__all__ = ["CAPTURED_AT", "CAPTURED_POLICY", "captured_machine", "captured_single", "samples"]

CAPTURED_POLICY = NvidiaPolicy(
    roots=(DEVICE_IDENTITY_ROOT_SHA256,),
    models=("GH100", "LS_10"),
    gpus=1,
    revoked=(),
    minimum_driver="545.00",
    minimum_vbios="96.00.5E.00.01",
    minimum_switch_vbios="96.10.73.00.01",
)
CAPTURED_AT = 1_750_000_000
_SINGLE = {
    "545.00": ("gonvtrust_attestationReport.txt", "gonvtrust_gpuAkCertChain.txt"),
    "550.90.07": ("hopperAttestationReport.txt", "hopperCertChain.txt"),
}
_NONCE = slice(4, 36)


def captured_single(data: Path, driver: str) -> DeviceEvidence:
    """One GPU with this driver version."""
    report, chain = ((data / "vectors/nvidia" / name).read_bytes() for name in _SINGLE[driver])
    return DeviceEvidence(report=bytes.fromhex(report.decode()), chain=_der(chain))


def captured_machine(data: Path) -> tuple[list[DeviceEvidence], list[DeviceEvidence]]:
    """The eight GPUs and the four switches of one machine."""
    gpus, switches = (
        [
            DeviceEvidence(
                report=base64.b64decode(item["evidence"]),
                chain=_der(base64.b64decode(item["certificate"])),
            )
            for item in json.loads((data / "vectors/nvidia" / f"{name}_evidence.json").read_text())
        ]
        for name in ("gpu", "switch")
    )
    return gpus, switches


def samples(data: Path) -> Sequence[FlipSample]:
    """Two single GPUs of two driver generations; one GPU and one switch of a large machine."""
    gpus, switches = captured_machine(data)
    single = {driver: [captured_single(data, driver)] for driver in _SINGLE}
    return [
        *(_sample(f"captured GPU, driver {driver}", device) for driver, device in single.items()),
        _sample("captured GPU and switch", [gpus[0], switches[0]]),
    ]


def _sample(name: str, devices: Sequence[DeviceEvidence]) -> FlipSample:
    verifier = CAPTURED_POLICY.verifier()
    nonce = devices[0].report[_NONCE]

    def verify(payload: bytes) -> None:
        evidence = Evidence(kind=NVIDIA, payload=payload)
        verifier.verify(evidence, report_data=nonce, now=CAPTURED_AT)

    return FlipSample(kind=NVIDIA, name=name, payload=encode(devices), verify=verify)


def _der(pem: bytes) -> tuple[bytes, ...]:
    certificates = x509.load_pem_x509_certificates(pem)
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in certificates)
