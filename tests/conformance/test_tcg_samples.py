"""Captured attestation key certificates and a captured event log of two clouds' TPMs."""

import base64
import re
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.tpm2 import Tpm2Policy, read_boot_log
from trust.attestation.tpm2.chain import AK_PURPOSE, Link, verify_chain
from trust.attestation.tpm2.tcg_log import read_tcg_log

NOW = 1_764_000_000  # November 2025, when they were captured
GOOGLE_PCR_0 = "0cca9ec161b09288802e5a112255d21340ed5b797f5fe29cecccfd8f67b9f802"
"""What the firmware of Google's confidential machines measures: published by its users."""


@pytest.fixture(scope="module")
def tcg(data_folder: Path) -> Path:
    return data_folder / "vectors" / "tcg"


def certificates(path: Path) -> list[bytes]:
    """DER of every PEM block; one sample is filled up with zeros, which are cut off."""
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----(.*?)-----END", path.read_text(), re.DOTALL)
    found = map(base64.b64decode, blocks)
    return [data[: 4 + int.from_bytes(data[2:4], "big")] for data in found]


def roots(path: Path) -> list[Link]:
    return [Link.parse(der) for der in certificates(path)]


def test_googles_attestation_key_chains_to_its_root(tcg: Path) -> None:
    """Key, intermediate and root; without the intermediate, or later, it is refused."""
    leaf, intermediate = certificates(tcg / "gce_ak_certificates.txt")
    root = roots(tcg / "gce_ek_ak_root.pem")
    links = verify_chain([leaf, intermediate], root, NOW)
    assert links[0].usage is not None
    assert links[0].usage.digital_signature
    assert links[0].purposes is None
    for chain, now, expected in (
        ([leaf], NOW, Rejection.UNKNOWN_KEY),
        ([intermediate], NOW, Rejection.CHAIN),
        ([leaf, intermediate], NOW + 100 * 366 * 86_400, Rejection.EXPIRED),
        ([leaf, intermediate], NOW - 366 * 86_400, Rejection.NOT_YET_VALID),
    ):
        with pytest.raises(EvidenceRejected) as caught:
            verify_chain(chain, root, now)
        assert caught.value.reason is expected


def test_azures_attestation_keys_are_read_and_need_their_intermediate(tcg: Path) -> None:
    """The sample lacks what stands between its certificates and the root: it is refused."""
    root = roots(tcg / "azure_tpm_root_2023.pem")
    found = certificates(tcg / "azure_ak_certificates.txt")
    assert len(found) == 2
    for der in found:
        link = Link.parse(der)
        assert link.purposes is not None
        assert AK_PURPOSE in link.purposes
        with pytest.raises(EvidenceRejected) as caught:
            verify_chain([der], root, NOW)
        assert caught.value.reason is Rejection.UNKNOWN_KEY


@pytest.mark.parametrize("name", ["gce_ek_ak_root.pem", "azure_tpm_root_2023.pem"])
def test_vendors_roots_make_policies(tcg: Path, name: str) -> None:
    """A trust root can name them as they are published."""
    (der,) = certificates(tcg / name)
    pem = x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode("ascii")
    assert Tpm2Policy((pem,)).to_json() == {"roots": [pem]}


def test_the_captured_log_leads_to_the_known_pcr(tcg: Path) -> None:
    """A hundred events; the firmware's part replays to the PCR 0 that others publish."""
    text = (tcg / "tcg_eventlog.txt").read_text()
    block = re.search(r"BEGIN LOG-----(.*?)-----END", text, re.DOTALL)
    assert block is not None
    data = base64.b64decode(block[1])
    log = read_boot_log(data)
    pcrs = log.replay()
    assert len(read_tcg_log(data)) == 100
    assert pcrs[0].hex() == GOOGLE_PCR_0
    assert log.judge(pcrs) == {"secure_boot": "on"}
