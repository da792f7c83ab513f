"""Development evidence: what it binds, and that it verifies like any other kind."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation import (
    Attester,
    Evidence,
    UnsafeSoftwareAttester,
    UnsafeSoftwareVerifier,
    Verifier,
    report_data,
)
from trust.strict import canonical
from trust.testing import unsafe_release

KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw()
RELEASE = unsafe_release()
BOUND = report_data(bytes(1216), bytes(32), 1, 2)
EVIDENCE = UnsafeSoftwareAttester(KEY, RELEASE).attest(BOUND)
VERIFIER = UnsafeSoftwareVerifier([PUBLIC.hex()])


def reason(evidence: Evidence, bound: bytes = BOUND) -> Rejection:
    with pytest.raises(EvidenceRejected) as refusal:
        VERIFIER.verify(evidence, report_data=bound, now=0)
    return refusal.value.reason


def test_claims_are_the_release() -> None:
    """Good evidence gives the digests of the release it was made for."""
    attester: Attester = UnsafeSoftwareAttester(KEY, RELEASE)
    verifier: Verifier = VERIFIER
    claims = verifier.verify(attester.attest(BOUND), report_data=BOUND, now=0)
    assert claims.kind == attester.kind == "unsafe_software"
    assert claims.measurements == {
        "software": RELEASE.software,
        "weights": RELEASE.weights,
        "configuration": RELEASE.configuration,
    }


def test_it_is_for_one_set_of_keys() -> None:
    """The same evidence beside other keys is refused."""
    for other in (
        report_data(bytes(1215) + b"1", bytes(32), 1, 2),
        report_data(bytes(1216), bytes(31) + b"1", 1, 2),
        report_data(bytes(1216), bytes(32), 0, 2),
        report_data(bytes(1216), bytes(32), 1, 3),
    ):
        assert reason(EVIDENCE, other) is Rejection.KEY_BINDING


def test_only_listed_keys_count() -> None:
    """A key the trust root does not list is refused, whatever it signed."""
    stranger = UnsafeSoftwareAttester(Ed25519PrivateKey.generate(), RELEASE).attest(BOUND)
    assert reason(stranger) is Rejection.UNKNOWN_KEY
    with pytest.raises(EvidenceRejected):
        UnsafeSoftwareVerifier([]).verify(EVIDENCE, report_data=BOUND, now=0)


def test_another_kind_is_refused() -> None:
    """The payload under another kind's name is refused."""
    moved = Evidence(kind="tpm2", payload=EVIDENCE.payload)
    assert reason(moved) is Rejection.KIND_NOT_ACCEPTED


@pytest.mark.parametrize(
    "change",
    [
        {"software": "AA" * 32},
        {"software": 5},
        {"schema": "lanai.unsafe-software/2"},
        {"report_data": None},
        {"extra": "field"},
    ],
)
def test_signed_statements_are_still_read_strictly(change: dict[str, object]) -> None:
    """A listed key cannot sign a statement of another form into acceptance."""
    statement = {
        "schema": "lanai.unsafe-software/1",
        "report_data": BOUND.hex(),
        "software": RELEASE.software,
        "weights": RELEASE.weights,
        "configuration": RELEASE.configuration,
        **change,
    }
    encoded = canonical(statement)
    signature = KEY.sign(b"lanai unsafe software v1\x00" + encoded)
    forged = Evidence(kind="unsafe_software", payload=PUBLIC + signature + encoded)
    assert reason(forged) is Rejection.MALFORMED


@settings(deadline=None, max_examples=300)
@given(st.integers(0, len(EVIDENCE.payload) * 8 - 1))
def test_no_bit_is_free(bit: int) -> None:
    """One flipped bit anywhere refuses the evidence."""
    damaged = bytearray(EVIDENCE.payload)
    damaged[bit // 8] ^= 1 << bit % 8
    reason(Evidence(kind="unsafe_software", payload=bytes(damaged)))


@settings(deadline=None, max_examples=300)
@given(st.binary(min_size=1, max_size=300))
def test_only_evidence_errors_come_out(payload: bytes) -> None:
    """Arbitrary payloads, also under a listed key and cut short, are refused as evidence."""
    reason(Evidence(kind="unsafe_software", payload=payload))
    reason(Evidence(kind="unsafe_software", payload=PUBLIC + payload))
    reason(Evidence(kind="unsafe_software", payload=EVIDENCE.payload[: len(payload)]))
