"""The node's side, against a fake of the kernel's folder and a host that hands in certificates."""

from pathlib import Path

import pytest

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.sev_snp import SevSnpAttester, SnpChain
from trust.attestation.sev_snp.testing import UnsafeVek
from trust.attestation.tsm import TsmOutput, TsmReport
from trust.attestation.tsm_testing import UnsafeTsmFiles

REPORT_DATA = bytes(range(32))
GUIDS = {
    "ark": "c0b406a4a80349529743 3fb6014cd0ae",
    "ask": "4ab7b379bbac4fe4a02f 05aef327c782",
    "vcek": "63da758de6644564adc5 f4b93be8accd",
    "vlek": "a8074bc2a25a483eaae6 39c045a0b8a1",
}


def host_table(certificates: dict[str, bytes]) -> bytes:
    """The table a host sets for its guests: entries, a zero entry, the certificates."""
    at = 24 * (len(certificates) + 1)
    entries, body = b"", b""
    for name, der in certificates.items():
        place = (at + len(body)).to_bytes(4, "little") + len(der).to_bytes(4, "little")
        entries += bytes.fromhex(GUIDS[name]) + place
        body += der
    return entries + bytes(24) + body


def attester(vek: UnsafeVek, table: bytes, chain: SnpChain | None = None) -> SevSnpAttester:
    def answer(report_data: bytes) -> TsmOutput:
        return TsmOutput(outblob=vek.report(report_data), auxblob=table)

    files = UnsafeTsmFiles("sev_guest", answer)
    return SevSnpAttester(TsmReport(Path("/report"), files=files), chain)


def test_what_the_node_attests_the_device_accepts(milan) -> None:
    """Report and the host's certificates become evidence the verifier accepts."""
    chain = milan.vek.chain
    table = host_table({"vcek": chain.vek, "ask": chain.ask, "ark": chain.ark, "vlek": b"other"})
    evidence = attester(milan.vek, table).attest(REPORT_DATA)
    assert evidence.kind == "sev_snp"
    milan.policy.verifier().verify(evidence, report_data=REPORT_DATA, now=milan.authority.now)


def test_configured_certificates_replace_the_hosts(milan) -> None:
    """Where the host has no certificates, the operator gives them."""
    evidence = attester(milan.vek, b"", milan.vek.chain).attest(REPORT_DATA)
    milan.policy.verifier().verify(evidence, report_data=REPORT_DATA, now=milan.authority.now)


def test_a_providers_key_is_found_in_the_table(milan) -> None:
    """The report says which key signed, and that one's certificate is taken."""
    vek = UnsafeVek(milan.authority, operator="provider")
    table = host_table({"vcek": b"other", "vlek": vek.chain.vek, "ask": b"a", "ark": b"b"})
    evidence = attester(vek, table).attest(REPORT_DATA)
    assert evidence.payload.endswith(vek.chain.vek)


@pytest.mark.parametrize(
    "table",
    [
        b"",
        host_table({"ark": b"a", "ask": b"b"}),
        bytes.fromhex(GUIDS["ark"]) + b"\xff" * 8,
        bytes.fromhex(GUIDS["ark"]),
        (bytes.fromhex(GUIDS["ark"]) + bytes(8)) * 20,
    ],
)
def test_a_table_without_a_chain_is_refused(milan, table) -> None:
    """Entries that are missing, point outside, are cut or too many."""
    with pytest.raises(EvidenceRejected) as caught:
        attester(milan.vek, table).attest(REPORT_DATA)
    assert caught.value.reason is Rejection.MALFORMED


def test_report_data_have_32_bytes(milan) -> None:
    """The other half of the field stays zero, so nothing longer can be bound."""
    with pytest.raises(EvidenceRejected):
        attester(milan.vek, b"").attest(bytes(64))
