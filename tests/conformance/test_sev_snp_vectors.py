"""Captured SEV-SNP reports and AMD's own certificates.

The Milan report comes with its whole chain. The reports of Azure (version 3) and Google Cloud
(version 4) come without the certificate of their chip, so they are read here and not verified.
"""

import base64
import re
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from bench.flips.sev_snp import CAPTURED_AT, CAPTURED_POLICY, ROOTS, captured_payload
from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.evidence import Evidence
from trust.attestation.sev_snp import ProductLine, SnpReport, Tcb
from trust.attestation.sev_snp.certificate import AmdCertificate
from trust.attestation.sev_snp.verifier import authenticate

YEAR = 365 * 24 * 3600
CHAINS = {
    "ask_ark_milan.pem": (ProductLine.MILAN, "SEV-Milan"),
    "milan.testcer": (ProductLine.MILAN, "SEV-Milan"),
    "milanvlek.testcer": (ProductLine.MILAN, "SEV-VLEK-Milan"),
    "ask_ark_genoa.pem": (ProductLine.GENOA, "SEV-Genoa"),
    "ask_ark_genoa_vlek.pem": (ProductLine.GENOA, "SEV-VLEK-Genoa"),
    "ask_ark_turin_vcek.pem": (ProductLine.TURIN, "SEV-Turin"),
}


def test_the_captured_report_is_amds(data_folder: Path) -> None:
    """Chain, signature, chip id and firmware versions of a Milan machine all agree."""
    payload = captured_payload(data_folder)
    report, endorsement = authenticate(payload, CAPTURED_POLICY, now=CAPTURED_AT)
    assert report.version == 2
    assert report.report_data == b"\x01\x02\x03\x04\x05".ljust(64, b"\0")
    assert report.measurement.hex().startswith("b07af9620f3b839b479964")
    assert endorsement.tcb == Tcb(bootloader=2, tee=0, snp=5, microcode=68)
    assert endorsement.accepted.line is ProductLine.MILAN
    assert endorsement.chip_id == report.chip_id


def test_the_captured_guest_is_refused_for_its_debug_bit(data_folder: Path) -> None:
    """It was started with debugging allowed, which no policy accepts."""
    evidence = Evidence(kind="sev_snp", payload=captured_payload(data_folder))
    with pytest.raises(EvidenceRejected) as caught:
        CAPTURED_POLICY.verifier().verify(evidence, report_data=b"", now=CAPTURED_AT)
    assert caught.value.reason is Rejection.DEBUG


@pytest.mark.parametrize(
    ("years", "reason"), [(-5, Rejection.NOT_YET_VALID), (10, Rejection.EXPIRED)]
)
def test_the_captured_chip_key_expires(data_folder: Path, years: int, reason: Rejection) -> None:
    """The certificate of the chip's key holds from 2022 to 2029."""
    now = CAPTURED_AT + years * YEAR
    with pytest.raises(EvidenceRejected) as caught:
        authenticate(captured_payload(data_folder), CAPTURED_POLICY, now=now)
    assert caught.value.reason is reason


def test_the_captured_chain_needs_its_root(data_folder: Path) -> None:
    """Without Milan's root in the policy, nothing of it counts."""
    others = tuple(line for line in CAPTURED_POLICY.lines if line.line is not ProductLine.MILAN)
    policy = replace(CAPTURED_POLICY, lines=others)
    with pytest.raises(EvidenceRejected) as caught:
        authenticate(captured_payload(data_folder), policy, now=CAPTURED_AT)
    assert caught.value.reason is Rejection.UNKNOWN_KEY


@pytest.mark.parametrize("name", CHAINS)
def test_amds_roots_and_intermediates(data_folder: Path, name: str) -> None:
    """Each published chain is read, its root is the pinned one, and signs itself and the other."""
    line, common_name = CHAINS[name]
    pem = (data_folder / "vectors" / "snp" / name).read_bytes()
    ask, ark = (
        AmdCertificate.parse(one.public_bytes(Encoding.DER))
        for one in x509.load_pem_x509_certificates(pem)
    )
    assert (ark.common_name, ask.common_name) == (f"ARK-{line}", common_name)
    assert ark.spki_sha256 == ROOTS[line]
    ark.check_issued_by(ark)
    ask.check_issued_by(ark)
    ask.check_window(CAPTURED_AT)
    with pytest.raises(EvidenceRejected):
        ark.check_issued_by(ask)


def test_the_report_inside_azures_evidence(data_folder: Path) -> None:
    """A Genoa machine's report of version 3, which Azure wraps in a header and runtime data."""
    report = SnpReport.parse(_pem(data_folder, "azure")[32 : 32 + 1184])
    assert (report.version, report.vmpl, report.cpu_family) == (3, 0, ProductLine.GENOA.cpu_family)
    assert report.abi == (0, 31)
    assert not report.migration_agent
    expected = Tcb(bootloader=10, tee=0, snp=23, microcode=84)
    for tcb in (report.reported_tcb, report.current_tcb, report.launch_tcb):
        assert Tcb.read(tcb, ProductLine.GENOA) == expected
    assert report.report_data[32:] == bytes(32)


def test_the_report_of_google_cloud(data_folder: Path) -> None:
    """A Milan machine's report of version 4."""
    report = SnpReport.parse(_pem(data_folder, "gce"))
    assert (report.version, report.vmpl, report.cpu_family) == (4, 0, ProductLine.MILAN.cpu_family)
    assert Tcb.read(report.reported_tcb, ProductLine.MILAN) == Tcb(
        bootloader=4, tee=0, snp=25, microcode=219
    )


def _pem(data_folder: Path, name: str) -> bytes:
    text = (data_folder / "vectors" / "tcg" / f"{name}_sevsnp_report.txt").read_text()
    found = re.search(r"-----BEGIN REPORT-----(.*?)-----END", text, re.DOTALL)
    assert found is not None
    return base64.b64decode(found[1])
