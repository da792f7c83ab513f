"""The forms of quotes, collateral and payloads: one encoding, and limits first."""

import json

import pytest

from lanai.errors import EvidenceRejected, Rejection, TrustError
from trust.attestation.policy import policy_from_json
from trust.attestation.tdx import TdxPolicy
from trust.attestation.tdx.collateral import MAX_COLLATERAL_BYTES, Collateral
from trust.attestation.tdx.quote import MAX_QUOTE_BYTES, Quote, quote_bytes

REPORT_DATA = bytes(range(32))
CERTIFICATION = 48 + 584 + 4
"""Where a version 4 quote's certification data starts."""
INNER = CERTIFICATION + 128 + 6
PEM = INNER + 448 + 2 + 32 + 6


def quote_refusal(data: bytes) -> Rejection:
    with pytest.raises(EvidenceRejected) as caught:
        Quote.parse(data)
    return caught.value.reason


def collateral_refusal(data: bytes) -> Rejection:
    with pytest.raises(EvidenceRejected) as caught:
        Collateral.parse(data)
    return caught.value.reason


@pytest.mark.parametrize("version", [4, 5])
def test_a_quote_is_read_to_its_last_byte(factory, version: int) -> None:
    """Cut, lengthened and oversized quotes have their reasons."""
    quote = factory.authority.quote(REPORT_DATA, version=version)
    assert Quote.parse(quote).report.report_data == REPORT_DATA + bytes(32)
    for cut in (0, 1, 47, 500, CERTIFICATION, len(quote) - 1):
        assert quote_refusal(quote[:cut]) is Rejection.TRUNCATED
    assert quote_refusal(quote + b"\0") is Rejection.AFTER_END
    assert quote_refusal(bytes(MAX_QUOTE_BYTES + 1)) is Rejection.TOO_LARGE


def test_a_platforms_larger_buffer_is_cut_to_the_quote(factory) -> None:
    """Platforms fill up with zeros, or anything else, which is no part of the quote."""
    quote = factory.authority.quote(REPORT_DATA)
    assert quote_bytes(quote + bytes(3065)) == quote
    assert quote_bytes(quote) == quote


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        pytest.param(0, b"\x03", Rejection.VERSION, id="version 3"),
        pytest.param(2, b"\x03", Rejection.VERSION, id="P-384"),
        pytest.param(4, b"\x00", Rejection.VERSION, id="SGX"),
        pytest.param(CERTIFICATION - 4, b"\xff\xff\xff\xff", Rejection.TRUNCATED, id="4 GiB"),
        pytest.param(INNER - 6, b"\x05", Rejection.MALFORMED, id="certification kind"),
        pytest.param(INNER - 4, b"\xff\xff\xff\xff", Rejection.TRUNCATED, id="enclave data size"),
        pytest.param(INNER + 448, b"\x21", Rejection.MALFORMED, id="authentication size"),
        pytest.param(PEM - 6, b"\x03", Rejection.MALFORMED, id="certificates not there"),
        pytest.param(PEM - 4, b"\xff\xff\xff\xff", Rejection.TRUNCATED, id="certificates size"),
        pytest.param(PEM, b"x", Rejection.MALFORMED, id="no PEM"),
        pytest.param(PEM + 27, b" ", Rejection.MALFORMED, id="PEM of another layout"),
    ],
)
def test_quotes_of_another_form_are_refused(
    factory, offset: int, value: bytes, reason: Rejection
) -> None:
    """Nothing in a quote may have two forms, whoever signed the rest."""
    quote = bytearray(factory.authority.quote(REPORT_DATA))
    quote[offset : offset + len(value)] = value
    assert quote_refusal(bytes(quote)) is reason


def test_a_version_5_quote_names_its_report(factory) -> None:
    """Kind and size of the report have to agree, and be known."""
    quote = factory.authority.quote(REPORT_DATA, version=5)
    for body in (
        b"\x01\x00\x80\x01\x00\x00",
        b"\x03\x00\x48\x02\x00\x00",
        b"\x04\x00\x88\x02\x00\x00",
    ):
        assert quote_refusal(quote[:48] + body + quote[54:]) is Rejection.VERSION


def test_collateral_has_one_encoding(factory) -> None:
    """An operator's file may have any layout; evidence has one, and is read back whole."""
    text = factory.authority.collateral()
    collateral = Collateral.from_file(text)
    assert Collateral.parse(collateral.canonical()) == collateral
    windows = text.replace(b"-----\\n", b"-----\\r\\n")
    more = json.loads(windows) | {"pck_certificate_chain": "what the quote has anyway"}
    assert Collateral.from_file(json.dumps(more, indent=7).encode()) == collateral
    assert collateral_refusal(text) is Rejection.MALFORMED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("root_ca_crl", "ABCD"),
        ("pck_crl", "abc"),
        ("tcb_info", "\x00"),
        ("tcb_info_signature", "11" * 63),
        ("qe_identity", 1),
        ("pck_crl_issuer_chain", ""),
        ("another", "1"),
    ],
)
def test_collateral_of_another_form_is_refused(factory, name: str, value: object) -> None:
    """Each field has its form, and there are no others."""
    fields = json.loads(Collateral.from_file(factory.authority.collateral()).canonical())
    changed = json.dumps(fields | {name: value}, sort_keys=True, separators=(",", ":"))
    assert collateral_refusal(changed.encode()) is Rejection.MALFORMED


def test_collateral_is_bounded() -> None:
    """Size before form, for the operator's file as for evidence."""
    assert collateral_refusal(b" " * (MAX_COLLATERAL_BYTES + 1)) is Rejection.TOO_LARGE
    with pytest.raises(EvidenceRejected) as caught:
        Collateral.from_file(b" " * (MAX_COLLATERAL_BYTES + 1))
    assert caught.value.reason is Rejection.TOO_LARGE


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("root_ca_crl", "00", Rejection.MALFORMED),
        ("tcb_info", "no JSON", Rejection.MALFORMED),
        ("tcb_info", "{}", Rejection.MALFORMED),
        ("tcb_info", '{"issueDate":"now","nextUpdate":"then"}', Rejection.MALFORMED),
        ("qe_identity", "[" * 20000, Rejection.MALFORMED),
    ],
)
def test_statements_that_cannot_be_read_are_refused(
    factory, name: str, value: str, reason: Rejection
) -> None:
    """Parts with the right letters and no sense."""
    fields = json.loads(factory.authority.collateral()) | {name: value}
    assert factory.refusal(collateral=json.dumps(fields).encode()) is reason


def test_another_authoritys_name_on_the_list_is_refused(factory) -> None:
    """The chain of the revocation list's issuer is the quote's own, to the byte."""
    fields = json.loads(factory.authority.collateral())
    fields["pck_crl_issuer_chain"] = fields["tcb_info_issuer_chain"]
    assert factory.refusal(collateral=json.dumps(fields).encode()) is Rejection.CHAIN


def test_a_chain_in_another_layout_is_refused(factory) -> None:
    """PEM that means the same and is written otherwise."""
    collateral = Collateral.from_file(factory.authority.collateral())
    quote = Quote.parse(factory.authority.quote(REPORT_DATA))
    for changed in (
        collateral.tcb_info_issuer_chain + "\n",
        "text\n" + collateral.tcb_info_issuer_chain,
        "\n".join(line for line in collateral.tcb_info_issuer_chain.split("\n") if line),
    ):
        fields = json.loads(collateral.canonical()) | {"tcb_info_issuer_chain": changed}
        odd = Collateral.parse(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode())
        with pytest.raises(EvidenceRejected) as caught:
            odd.check(quote, factory.policy.roots, factory.authority.now)
        assert caught.value.reason is Rejection.MALFORMED


def test_a_payload_of_another_version_is_refused(factory) -> None:
    """Its first byte says how the rest is read."""
    payload = factory.payload()
    assert factory.refusal(payload=b"\2" + payload[1:]) is Rejection.VERSION
    assert factory.refusal(payload=payload[:1]) is Rejection.TRUNCATED
    assert factory.refusal(payload=payload + b" ") is Rejection.MALFORMED


def test_a_policy_goes_through_the_trust_root(factory) -> None:
    """Written and read back it is the same; no policy can accept a revoked platform."""
    value = {"kind": "tdx", **factory.policy.to_json()}
    assert policy_from_json(value).to_json() == value
    for changed in (
        {"statuses": ["Revoked"]},
        {"advisories": ["any"]},
        {"roots": ["short"]},
        {"minimum_evaluation": -1},
        {"debug": True},
    ):
        with pytest.raises(TrustError) as caught:
            TdxPolicy.from_json(factory.policy.to_json() | changed)
        assert caught.value.reason is Rejection.MALFORMED
