"""Captured TDX quotes of several platforms, with Intel's collateral of the time."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.flips.tdx import CAPTURED_POLICY, azure_quote, captured_collateral, captured_payload
from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.evidence import Claims, Evidence
from trust.attestation.tdx.quote import Quote, quote_bytes
from trust.attestation.tdx.verifier import authenticate

DAY = 86400


def quote(data: Path, name: str) -> bytes:
    folder = data / "vectors/tdx"
    if name.endswith(".hex"):
        return bytes.fromhex((folder / name).read_text().strip().removeprefix("0x"))
    return azure_quote(data) if name == "azure" else (folder / name).read_bytes()


def refusal(data: Path, name: str, collateral: str) -> Rejection:
    text, now = captured_collateral(data, collateral)
    with pytest.raises(EvidenceRejected) as caught:
        authenticate(captured_payload(quote(data, name), text), CAPTURED_POLICY, now=now)
    return caught.value.reason


def verify(data: Path, report_data: bytes, *, days: float = 0, policy=CAPTURED_POLICY) -> Claims:
    """The Azure quote, whose report data is 32 bytes and zeros, through the whole verifier."""
    text, now = captured_collateral(data, "tdx_quote_outdated")
    evidence = Evidence(kind="tdx", payload=captured_payload(azure_quote(data), text))
    return policy.verifier().verify(evidence, report_data=report_data, now=now + days * DAY)


def azure_report_data(data: Path) -> bytes:
    return Quote.parse(quote_bytes(azure_quote(data))).report.report_data[:32]


def test_a_captured_quote_verifies_whole(data_folder: Path) -> None:
    """A confidential machine of Azure: report data, TCB status and measurements."""
    claims = verify(data_folder, azure_report_data(data_folder)).measurements
    assert claims["tcb_status"] == "UpToDate"
    assert claims["mrtd"].startswith("f858414aef26d52a")
    assert claims["mrseam"].startswith("49b66faa451d19eb")


@pytest.mark.parametrize(
    ("name", "collateral", "mrtd"),
    [
        ("dcap-qvl/tdx_quote", "tdx_quote", "91eb2b44d141d4ec"),
        ("go-tdx-guest/quote_v5_sample.dat", "tdx_quote_outdated", "73"),
    ],
)
def test_captured_quotes_are_authentic(
    data_folder: Path, name: str, collateral: str, mrtd: str
) -> None:
    """Quotes of versions 4 and 5, whose guests chose all 64 bytes of report data themselves."""
    text, now = captured_collateral(data_folder, collateral)
    payload = captured_payload(quote(data_folder, name), text)
    report, status = authenticate(payload, CAPTURED_POLICY, now=now)
    assert status == "UpToDate"
    assert report.mrtd.hex().startswith(mrtd)


def test_captured_quotes_are_refused_with_their_reasons(data_folder: Path) -> None:
    """Old platforms, a guest that takes injected faults, collateral of another platform."""
    for name, collateral, reason in (
        ("dcap-qvl/tdx_quote_outdated", "tdx_quote_outdated", Rejection.TCB),
        ("dcap-qvl/tdx-quote.hex", "tdx_quote", Rejection.TCB),
        ("dcap-qvl/quote-from-tappd.hex", "tdx_quote", Rejection.TCB),
        ("go-tdx-guest/tdx_prod_quote_SPR_E4.dat", "tdx_quote", Rejection.GUEST_POLICY),
        ("go-tdx-guest/ccel/cos-113-tdx-quote.dat", "tdx_quote", Rejection.CHAIN),
        ("azure", "tdx_quote", Rejection.CHAIN),
        ("go-tdx-guest/quote_v5_sample.dat", "tdx_quote", Rejection.NOT_YET_VALID),
        ("dcap-qvl/sgx_quote", "sgx_quote", Rejection.VERSION),
    ):
        assert refusal(data_folder, name, collateral) is reason, name


def test_a_captured_quote_is_refused_for_other_keys_times_and_policies(data_folder: Path) -> None:
    """Another nonce, stale collateral, another root, a newer evaluation."""
    bound = azure_report_data(data_folder)
    stricter = replace(CAPTURED_POLICY, minimum_evaluation=19)
    elsewhere = replace(CAPTURED_POLICY, roots=("00" * 32,))
    for changed, reason in (
        ({"report_data": bytes(32)}, Rejection.KEY_BINDING),
        ({"days": 29}, Rejection.EXPIRED),
        ({"days": -30}, Rejection.NOT_YET_VALID),
        ({"policy": stricter}, Rejection.TCB),
        ({"policy": elsewhere}, Rejection.UNKNOWN_KEY),
    ):
        with pytest.raises(EvidenceRejected) as caught:
            verify(data_folder, **{"report_data": bound, **changed})
        assert caught.value.reason is reason, changed
