"""The node's side, against a fake of the kernel's folder."""

from pathlib import Path

import pytest

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.tdx import TdxAttester
from trust.attestation.tsm import TsmOutput, TsmReport
from trust.attestation.tsm_testing import UnsafeTsmFiles

REPORT_DATA = bytes(range(32))


def attester(factory, *, collateral: bytes | None = None, blob: bytes | None = None) -> TdxAttester:
    def answer(report_data: bytes) -> TsmOutput:
        quote = factory.authority.quote(report_data) + bytes(70)
        return TsmOutput(outblob=quote if blob is None else blob, auxblob=b"")

    reports = TsmReport(Path("/report"), files=UnsafeTsmFiles("tdx_guest", answer))
    return TdxAttester(reports, lambda: collateral or factory.authority.collateral())


def test_what_the_node_attests_the_device_accepts(factory) -> None:
    """The kernel's quote, cut to its length, and the operator's collateral become evidence."""
    evidence = attester(factory).attest(REPORT_DATA)
    assert evidence.kind == "tdx"
    assert factory.verify(payload=evidence.payload).measurements["mrtd"] == "01" * 48


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"collateral": b"{}"}, Rejection.MALFORMED),
        ({"collateral": b"[]"}, Rejection.MALFORMED),
        ({"collateral": b"\xff"}, Rejection.MALFORMED),
        ({"blob": b"no quote"}, Rejection.VERSION),
        ({"blob": bytes.fromhex("0400020081000000")}, Rejection.TRUNCATED),
    ],
)
def test_a_node_that_cannot_attest_says_so(
    factory, broken: dict[str, bytes], reason: Rejection
) -> None:
    """Unusable collateral or no quote is a refusal at the node."""
    with pytest.raises(EvidenceRejected) as caught:
        attester(factory, **broken).attest(REPORT_DATA)
    assert caught.value.reason is reason
