"""Bundles and release records as bytes: one encoding, strict reading."""

from dataclasses import replace

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from lanai.errors import Rejection, TrustError
from protos.lanai.v1alpha import bundle_pb2 as pb
from trust.bundle import MAX_BUNDLE_BYTES, NodeBundle, Release
from trust.certificate import NodeCertificate
from trust.testing import NodeTls, UnsafeTrustWorld, unsafe_release

NOW = 1_700_000_000
WORLD = UnsafeTrustWorld(now=NOW)
BUNDLE = WORLD.bundle(b"k" * 1216)
DATA = BUNDLE.serialize()
RELEASE = unsafe_release()


def reason(call: object) -> Rejection:
    with pytest.raises(TrustError) as refusal:
        call()  # type: ignore[operator]
    return refusal.value.reason


def test_bundles_round_trip() -> None:
    """A bundle read back is equal, by bytes and by message, and has the same digest."""
    assert NodeBundle.parse(DATA) == BUNDLE == NodeBundle.from_proto(BUNDLE.to_proto())
    assert NodeBundle.parse(DATA).digest() == BUNDLE.digest()
    assert len({BUNDLE.digest(), replace(BUNDLE, not_before=NOW - 1).digest()}) == 2


def test_printing_a_bundle_is_short() -> None:
    """Keys, notes and evidence do not flood a log line."""
    assert len(repr(BUNDLE)) < 700


def test_unknown_fields_are_refused() -> None:
    """A field this version does not know cannot ride along, at any depth."""
    unknown = b"\xfa\x3e\x01x"  # field 1007, one byte
    assert reason(lambda: NodeBundle.parse(DATA + unknown)) is Rejection.MALFORMED
    message = BUNDLE.to_proto()
    message.proof.MergeFromString(unknown)
    assert reason(lambda: NodeBundle.parse(message.SerializeToString())) is Rejection.MALFORMED


def test_other_encodings_are_refused() -> None:
    """The same value in another field order is not the same bundle."""
    first = pb.NodeBundle(hpke_public_key=BUNDLE.hpke_public_key).SerializeToString()
    assert DATA.startswith(first)
    assert reason(lambda: NodeBundle.parse(DATA[len(first) :] + first)) is Rejection.MALFORMED


@pytest.mark.parametrize(
    "change",
    [
        {"hpke_public_key": bytes(1215)},
        {"hpke_public_key": b""},
        {"tls_certificate": b""},
        {"tls_certificate": bytes(5000)},
        {"not_before": 0},
        {"not_before": NOW + 3600, "expires_at": NOW + 3600},
        {"expires_at": 2**63},
    ],
)
def test_sizes_and_windows(change: dict[str, object]) -> None:
    """Fields out of bounds are refused in code and from the wire."""
    assert reason(lambda: replace(BUNDLE, **change)) in (
        Rejection.MALFORMED,
        Rejection.TOO_LARGE,
    )
    message = BUNDLE.to_proto()
    for name, value in change.items():
        setattr(message, name, value)
    reason(lambda: NodeBundle.parse(message.SerializeToString()))


@pytest.mark.parametrize("name", ["evidence", "release", "proof", "hpke_public_key"])
def test_missing_parts(name: str) -> None:
    """A bundle without one of its parts is refused."""
    message = BUNDLE.to_proto()
    message.ClearField(name)  # type: ignore[arg-type]
    reason(lambda: NodeBundle.from_proto(message))


def test_proofs_are_bounded() -> None:
    """Too many, too short hashes and a checkpoint of no bytes are refused."""
    proof = BUNDLE.proof
    for change in (
        {"hashes": (bytes(32),) * 64},
        {"hashes": (bytes(31),)},
        {"index": -1},
        {"index": 2**63},
        {"checkpoint": b""},
        {"checkpoint": bytes(2**16 + 1)},
    ):
        reason(lambda change=change: replace(proof, **change))


def test_long_bundles_are_refused_unread() -> None:
    """Size is checked before parsing."""
    assert reason(lambda: NodeBundle.parse(bytes(MAX_BUNDLE_BYTES + 1))) is Rejection.TOO_LARGE


def test_release_records_have_one_form() -> None:
    """A release is read from its canonical bytes only, and its digest is theirs."""
    leaf = RELEASE.canonical()
    assert Release.parse(leaf) == RELEASE
    assert Release.parse(leaf).digest() == RELEASE.digest()
    golden = replace(RELEASE, golden={"tpm2": {"pcr00": "ab" * 32}, "sev_snp": {"a": "b"}})
    assert Release.parse(golden.canonical()) == golden
    for other in (
        leaf + b"\n",
        leaf.replace(b'":', b'": ', 1),
        leaf.replace(b"512", b"512.0"),
        leaf.replace(b"512", b"true"),
        leaf.replace(b"512", b"0"),
        leaf.replace(b"toy", b"t\xc3\xb6y"),
        leaf.replace(b"toy", b""),
        leaf.replace(b"release/2", b"release/1"),
        leaf.replace(b'"golden":{}', b'"golden":{"UPPER":{"a":"b"}}'),
        leaf.replace(b'"golden":{}', b'"golden":{"tpm2":{}}'),
        leaf.replace(b'"golden":{}', b'"golden":{"tpm2":{"a":1}}'),
        leaf.replace(b'"golden":{}', b'"golden":{"tpm2":{"a":"two words"}}'),
        leaf.replace(b'"golden":{}', b'"golden":[]'),
        leaf[:-1] + b',"x":1}',
        leaf.replace(b"11", b"AA", 1),
        b"{}",
        b"[]",
        b"",
        b"[" * 4000,
        b" " * 40_000,
    ):
        reason(lambda other=other: Release.parse(other))


def test_certificates_are_self_signed_p256() -> None:
    """The SPKI hash is the certificate's; a damaged or foreign certificate is refused."""
    tls = NodeTls.generate(now=NOW)
    read = NodeCertificate.parse(tls.certificate)
    assert read.public_key == tls.key.public_key()
    assert read.not_before < NOW < read.not_after
    other = NodeTls.generate(now=NOW).certificate
    # Subject, serial and times of one under the signature of the other.
    reason(lambda: NodeCertificate.parse(tls.certificate[:-70] + other[-70:]))
    reason(lambda: NodeCertificate.parse(tls.certificate + b"\x00"))
    reason(lambda: NodeCertificate.parse(bytes(5000)))


def test_the_signature_is_whole_bytes() -> None:
    """A count of unused bits, which DER allows where those bits are zero, refuses a certificate."""
    der = NodeTls.generate(now=NOW).certificate
    while der[-1] & 1:
        der = NodeTls.generate(now=NOW).certificate
    signature = x509.load_der_x509_certificate(der).signature
    place = len(der) - len(signature) - 1
    NodeCertificate.parse(der)
    assert der[place] == 0
    respelled = der[:place] + b"\x01" + der[place + 1 :]
    assert reason(lambda: NodeCertificate.parse(respelled)) is Rejection.MALFORMED


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300), st.integers(0, len(DATA) - 1))
def test_only_trust_errors_come_out(data: bytes, place: int) -> None:
    """Arbitrary bytes, alone or inside a good bundle, are refused or read as what they are."""
    for tried in (data, DATA[:place] + data, DATA[:place] + data + DATA[place + len(data) :]):
        for parse in (NodeBundle.parse, Release.parse, NodeCertificate.parse):
            try:
                parse(tried)
            except TrustError:
                continue


@settings(deadline=None, max_examples=300)
@given(st.integers(0, len(BUNDLE.tls_certificate) * 8 - 1))
def test_no_bit_of_a_certificate_is_free(bit: int) -> None:
    """One flipped bit anywhere in a certificate refuses it."""
    damaged = bytearray(BUNDLE.tls_certificate)
    damaged[bit // 8] ^= 1 << bit % 8
    reason(lambda: NodeCertificate.parse(bytes(damaged)))
