"""What is read strictly: payload, report, DER. Only the package's own error comes out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.sev_snp import SnpPayload, SnpReport
from trust.attestation.sev_snp import der as tags
from trust.attestation.sev_snp.certificate import MAX_CERTIFICATE_BYTES, AmdCertificate
from trust.attestation.sev_snp.der import DerReader

REPORT_DATA = bytes(range(32))
RESERVED = [
    0x4C,
    0x18B,
    0x19F,
    0x1EB,
    0x1EF,
    0x208,
    0x29F,
    0x2D0,
    0x2E7,
    0x318,
    0x32F,
    0x330,
    0x49F,
]


def reason(read, data: bytes) -> Rejection:
    with pytest.raises(EvidenceRejected) as caught:
        read(data)
    return caught.value.reason


@pytest.mark.parametrize("place", RESERVED)
def test_reserved_bytes_of_the_report_are_zero(milan, place) -> None:
    """Reserved bytes, signed or not, are zero."""
    report = bytearray(milan.vek.report(REPORT_DATA, version=5))
    report[place] = 0x80
    assert reason(SnpReport.parse, bytes(report)) is Rejection.MALFORMED


@pytest.mark.parametrize(("version", "place"), [(2, 0x188), (2, 0x1F8), (3, 0x1F8), (4, 0x207)])
def test_bytes_of_a_later_version_are_zero_before_it(milan, version, place) -> None:
    """What a version does not define yet is reserved in it."""
    report = milan.vek.report(REPORT_DATA, version=version, patches={place: b"\x01"})
    assert reason(SnpReport.parse, report) is Rejection.MALFORMED
    SnpReport.parse(milan.vek.report(REPORT_DATA, version=5, patches={place: b"\x01"}))


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({0x00: b"\x01"}, Rejection.VERSION),
        ({0x00: b"\x06"}, Rejection.VERSION),
        ({0x0A: b"\x01"}, Rejection.MALFORMED),
        ({0x0B: b"\x04"}, Rejection.MALFORMED),
        ({0x34: b"\x02"}, Rejection.SIGNATURE),
        ({0x48: b"\x20"}, Rejection.MALFORMED),
        ({0x48: b"\x1c"}, Rejection.SIGNATURE),
        ({0x48: b"\x08"}, Rejection.SIGNATURE),
    ],
)
def test_fields_out_of_their_range_are_refused(milan, patch, expected) -> None:
    """Versions, reserved bits of policy and flags, algorithms and keys that do not exist."""
    assert reason(SnpReport.parse, milan.vek.report(REPORT_DATA, patches=patch)) is expected


def test_reserved_tcb_bytes_are_zero(milan) -> None:
    """A TCB version has no components between those its product line defines."""
    report = milan.vek.report(REPORT_DATA, patches={0x39 + 1: b"\x01"})
    assert reason(lambda data: milan.verify(report=data), report) is Rejection.MALFORMED


def test_the_payload_has_one_encoding(milan) -> None:
    """Cut, extended or with an empty certificate it is refused; what is read encodes to itself."""
    payload = SnpPayload(report=milan.vek.report(REPORT_DATA), chain=milan.vek.chain).encode()
    assert SnpPayload.decode(payload).encode() == payload
    for data in (payload + b"\0", payload[:-1], payload[:1184], payload[:1184] + bytes(6)):
        assert reason(SnpPayload.decode, data) is Rejection.MALFORMED
    assert reason(SnpPayload.decode, bytes(20_000)) is Rejection.TOO_LARGE


def test_a_certificate_has_one_encoding(milan) -> None:
    """Trailing bytes, another outer algorithm and unused bits are refused."""
    whole = milan.vek.chain.vek
    signature = AmdCertificate.parse(whole).signature
    unused = whole[: -len(signature) - 1] + b"\x01" + signature[:-1] + b"\xfe"
    other = whole.replace(
        bytes.fromhex("0960864801650304020205"), bytes.fromhex("0960864801650304020105")
    )
    for data in (whole + b"\0", whole[:-1], unused, other, b"", bytes(8)):
        assert reason(AmdCertificate.parse, data) is Rejection.MALFORMED
    assert reason(AmdCertificate.parse, bytes(MAX_CERTIFICATE_BYTES + 1)) is Rejection.TOO_LARGE


@pytest.mark.parametrize(
    "data",
    ["", "02", "0281", "028101", "0282000101", "028000", "0283000001ff", "0200", "0280", "020180"],
)
def test_numbers_that_are_not_der_are_refused(data) -> None:
    """Long forms of short lengths, indefinite lengths, negative and empty numbers."""
    assert reason(lambda raw: DerReader(raw).number(), bytes.fromhex(data)) is Rejection.MALFORMED


def test_numbers_have_no_leading_zeros() -> None:
    """The shortest form alone is read."""
    assert DerReader(bytes.fromhex("02020080")).number() == 128
    assert DerReader(bytes.fromhex("020100")).number() == 0
    assert reason(lambda raw: DerReader(raw).number(), bytes.fromhex("0202007f"))


@settings(deadline=None, max_examples=300)
@given(data=st.binary(max_size=64))
def test_any_bytes_are_no_surprise(data: bytes) -> None:
    """Whatever comes in, a reader answers or refuses with the package's own error."""
    for read in (
        AmdCertificate.parse,
        SnpPayload.decode,
        SnpReport.parse,
        lambda raw: DerReader(raw).element(tags.SEQUENCE),
    ):
        try:
            read(data)
        except EvidenceRejected:
            continue


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_a_damaged_certificate_is_refused(milan, data) -> None:
    """Bytes replaced anywhere in a certificate, or cut out: refused, by the package's own error."""
    whole = milan.vek.chain.vek
    at = data.draw(st.integers(0, len(whole) - 1))
    length = data.draw(st.integers(0, 4))
    damaged = whole[:at] + data.draw(st.binary(max_size=4)) + whole[at + length :]
    if damaged != whole:
        with pytest.raises(EvidenceRejected):
            milan.verify(vek=damaged)
