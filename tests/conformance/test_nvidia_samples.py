"""Captured NVIDIA evidence: Hopper GPUs of three driver generations, NVLink switches."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from bench.flips.nvidia import CAPTURED_AT, CAPTURED_POLICY, captured_machine, captured_single
from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.evidence import MAX_PAYLOAD_BYTES, Claims, Evidence
from trust.attestation.nvidia import DeviceEvidence, NvidiaPolicy
from trust.attestation.nvidia.payload import encode

NONCE = slice(4, 36)


def verify(
    *devices: DeviceEvidence, policy: NvidiaPolicy = CAPTURED_POLICY, nonce: bytes | None = None
) -> Claims:
    evidence = Evidence(kind="nvidia", payload=encode(devices))
    expected = devices[0].report[NONCE] if nonce is None else nonce
    return policy.verifier().verify(evidence, report_data=expected, now=CAPTURED_AT)


def refusal(*devices: DeviceEvidence, **changed) -> Rejection:
    with pytest.raises(EvidenceRejected) as caught:
        verify(*devices, **changed)
    return caught.value.reason


@pytest.mark.parametrize(
    ("driver", "vbios"), [("545.00", "96.00.5E.00.01"), ("550.90.07", "96.00.9F.00.01")]
)
def test_captured_gpus_verify(data_folder: Path, driver: str, vbios: str) -> None:
    """Both single GPUs are accepted, with versions as NVIDIA's tools print them."""
    claims = verify(captured_single(data_folder, driver)).measurements
    assert (claims["driver"], claims["vbios"], claims["model"]) == (driver, vbios, "GH100")
    assert len([name for name in claims if name.startswith("measurement_")]) == 64


def test_a_whole_machine_fits_one_payload(data_folder: Path) -> None:
    """Eight GPUs and four switches are accepted together; all GPUs measured the same."""
    gpus, switches = captured_machine(data_folder)
    assert len(encode([*gpus, *switches])) <= MAX_PAYLOAD_BYTES
    claims = verify(*gpus, *switches, policy=replace(CAPTURED_POLICY, gpus=8)).measurements
    assert (claims["gpus"], claims["switches"], claims["driver"]) == ("8", "4", "590.12")
    assert (claims["feature"], claims["protected_pcie"]) == ("ppcie", "on")
    assert claims["switch_vbios"] == "96.10.73.00.01"
    assert len([name for name in claims if name.startswith("measurement_")]) == 64
    assert len([name for name in claims if name.startswith("switch_measurement_")]) == 20


def test_the_captured_invalid_chain_is_refused(data_folder: Path) -> None:
    """The chain whose first certificate is not issued by the second."""
    pem = (data_folder / "vectors/nvidia/gonvtrust_invalidCertChain.txt").read_bytes()
    certificates = x509.load_pem_x509_certificates(pem)
    chain = tuple(certificate.public_bytes(Encoding.DER) for certificate in certificates)
    device = replace(captured_single(data_folder, "545.00"), chain=chain)
    root = {"roots": (sha256(chain[-1]).hexdigest(),)}
    assert refusal(device, policy=replace(CAPTURED_POLICY, **root)) is Rejection.CHAIN


def test_captured_reports_are_refused_for_other_keys_chains_and_policies(data_folder: Path) -> None:
    """Another nonce, another GPU's chain, a newer minimum, another root: each with its reason."""
    old, new = (captured_single(data_folder, driver) for driver in ("545.00", "550.90.07"))
    assert refusal(new, nonce=bytes(32)) is Rejection.KEY_BINDING
    assert refusal(replace(old, chain=new.chain)) is Rejection.SIGNATURE
    newer = replace(CAPTURED_POLICY, minimum_driver="550.90.07")
    assert refusal(old, policy=newer) is Rejection.TCB
    assert verify(new, policy=newer)
    other = replace(CAPTURED_POLICY, roots=("00" * 32,))
    assert refusal(new, policy=other) is Rejection.UNKNOWN_KEY
