"""The forms of reports and payloads: one encoding, and limits before anything is allocated."""

from dataclasses import replace

import pytest

from lanai.errors import EvidenceRejected, Rejection, TrustError
from trust.attestation.nvidia import NvidiaPolicy
from trust.attestation.nvidia.payload import decode, encode
from trust.attestation.nvidia.spdm import MAX_REPORT_BYTES, MeasurementReport
from trust.attestation.nvidia.testing import UnsafeNvidiaDevice
from trust.attestation.policy import policy_from_json

REPORT_DATA = bytes(range(32))
BLOCKS = 37 + 8
"""Where the first measurement block starts: after the request and the answer's head."""
OPAQUE = BLOCKS + 4 * 55 + 32 + 2
"""Where the vendor's first field starts."""


def report_refusal(data: bytes) -> Rejection:
    with pytest.raises(EvidenceRejected) as caught:
        MeasurementReport.parse(data)
    return caught.value.reason


def payload_refusal(data: bytes) -> Rejection:
    with pytest.raises(EvidenceRejected) as caught:
        decode(data)
    return caught.value.reason


def test_a_payload_has_one_encoding(factory) -> None:
    """Whatever order devices come in, the payload is the same, with each certificate once."""
    devices = [
        UnsafeNvidiaDevice(factory.authority).evidence(REPORT_DATA),
        factory.gpu.evidence(REPORT_DATA),
    ]
    payload = encode(devices)
    assert payload == encode(devices[::-1])
    assert set(decode(payload)) == set(devices)
    assert payload.count(factory.authority.certificates[0]) == 1


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 300, 3000])
def test_a_cut_payload_is_truncated(factory, cut: int) -> None:
    """Lengths are held against what is there."""
    payload = encode([factory.gpu.evidence(REPORT_DATA)])
    reason = payload_refusal(payload[:cut] if cut < 300 else payload[:-cut])
    assert reason is Rejection.TRUNCATED


def test_nothing_may_follow_a_payload(factory) -> None:
    """Trailing bytes would be covered by nothing."""
    assert payload_refusal(encode([factory.gpu.evidence(REPORT_DATA)]) + b"\0") is (
        Rejection.AFTER_END
    )


def test_other_encodings_of_the_same_devices_are_refused(factory) -> None:
    """Another order of devices or certificates, one unused, one twice, one missing, none at all."""
    one = factory.gpu.evidence(REPORT_DATA)
    payload = encode([one])
    table_end = 2 + sum(2 + len(der) for der in one.chain)
    table, tail = payload[2:table_end], payload[table_end:]
    first = 2 + len(one.chain[0])
    swapped = table[first:] + table[:first]
    unused = b"\0\1x"
    others = [
        bytes((1, 4)) + swapped + tail[:-4] + bytes((3, 0, 1, 2)),
        bytes((1, 5)) + table + unused + tail,
        bytes((1, 5)) + table + table[:first] + tail,
        bytes((1, 4)) + table + tail[:-1] + b"\x09",
        bytes((1, 0)) + tail,
        bytes((1, 4)) + table + b"\0",
        bytes((1, 4)) + table + b"\xff" + tail[1:],
    ]
    assert {payload_refusal(other) for other in others} == {Rejection.MALFORMED}
    assert payload_refusal(b"\2" + payload[1:]) is Rejection.VERSION


def test_a_report_is_read_to_its_last_byte(factory) -> None:
    """Cut, lengthened and oversized reports have their reasons."""
    report = factory.gpu.evidence(REPORT_DATA).report
    parsed = MeasurementReport.parse(report)
    assert parsed.nonce == REPORT_DATA
    assert sorted(parsed.measurements) == [1, 2, 3, 4]
    for cut in (0, 3, 36, 44, 200, len(report) - 1):
        assert report_refusal(report[:cut]) is Rejection.TRUNCATED
    assert report_refusal(report + b"\0") is Rejection.AFTER_END
    assert report_refusal(bytes(MAX_REPORT_BYTES + 1)) is Rejection.TOO_LARGE


@pytest.mark.parametrize(
    ("patches", "reason"),
    [
        pytest.param({0: b"\x12"}, Rejection.VERSION, id="SPDM 1.2"),
        pytest.param({2: b"\x00"}, Rejection.VERSION, id="unsigned"),
        pytest.param({36: b"\x01"}, Rejection.VERSION, id="another slot"),
        pytest.param({38: b"\x7f"}, Rejection.VERSION, id="an error answer"),
        pytest.param({41: b"\x05"}, Rejection.TRUNCATED, id="one block too many"),
        pytest.param({41: b"\x03"}, Rejection.AFTER_END, id="one block too few"),
        pytest.param({42: b"\xff\xff\xff"}, Rejection.TRUNCATED, id="16 MiB of blocks"),
        pytest.param({BLOCKS: b"\x00"}, Rejection.MALFORMED, id="block 0"),
        pytest.param({BLOCKS + 55: b"\x01"}, Rejection.MALFORMED, id="block twice"),
        pytest.param({BLOCKS + 1: b"\x02"}, Rejection.MALFORMED, id="not DMTF"),
        pytest.param({BLOCKS + 2: b"\x32"}, Rejection.MALFORMED, id="size of a block"),
        pytest.param({BLOCKS + 4: b"\x81"}, Rejection.MALFORMED, id="raw, no digest"),
        pytest.param({BLOCKS + 5: b"\x20"}, Rejection.MALFORMED, id="another digest"),
        pytest.param({OPAQUE - 2: b"\xff\xff"}, Rejection.TRUNCATED, id="vendor data size"),
        pytest.param({OPAQUE: b"\x03"}, Rejection.MALFORMED, id="a field twice"),
        pytest.param({OPAQUE + 2: b"\xff\xff"}, Rejection.TRUNCATED, id="size of a field"),
    ],
)
def test_reports_of_another_form_are_refused(
    factory, patches: dict[int, bytes], reason: Rejection
) -> None:
    """Also when they are signed: the reader accepts what it understands whole, nothing else."""
    evidence = factory.gpu.evidence(REPORT_DATA, patches=patches)
    assert factory.refusal(evidence) is reason


def test_certificates_of_another_form_are_refused(factory) -> None:
    """Garbage, something behind the end, too many bytes."""
    evidence = factory.gpu.evidence(REPORT_DATA)
    leaf, *issuers = evidence.chain
    for der, reason in (
        (b"\x30\x00", Rejection.MALFORMED),
        (leaf + b"\0", Rejection.MALFORMED),
        (bytes(2049), Rejection.TOO_LARGE),
    ):
        assert factory.refusal(replace(evidence, chain=(der, *issuers))) is reason


def test_a_policy_goes_through_the_trust_root(factory) -> None:
    """Written and read back it is the same; what is not known refuses the whole policy."""
    value = {"kind": "nvidia", **factory.policy.to_json()}
    assert policy_from_json(value).to_json() == value
    for changed in (
        {"minimum_driver": "newest"},
        {"gpus": 0},
        {"roots": ["short"]},
        {"models": ["gh100"]},
        {"debug": True},
    ):
        with pytest.raises(TrustError) as caught:
            NvidiaPolicy.from_json(factory.policy.to_json() | changed)
        assert caught.value.reason is Rejection.MALFORMED
