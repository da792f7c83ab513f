"""The attestation CA certifies one kind of key: restricted, in a TPM of a known maker."""

import io
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import ValidationError

from cloud_node.attestation_ca import AkAuthority, AttestationCaConfig, AttestationCaService
from cloud_node.attestation_ca.challenges import Challenges
from cloud_node.attestation_ca.endorsement import (
    EndorsementJudge,
    spki_sha256,
    verify_attestation_key,
)
from cloud_node.events import Component, EventLog
from cloud_node.listening import ListenConfig
from lanai.errors import (
    CloudRefused,
    ConfigError,
    EvidenceRejected,
    RefusalCode,
    Rejection,
    TrustError,
)
from protos.lanai.v1alpha import attestation_ca_pb2 as pb
from trust.attestation.tpm2.chain import EK_PURPOSE, Link, verify_chain
from trust.attestation.tpm2.reader import sized
from trust.attestation.tpm2.structures import Attributes, PublicArea

NOW = 1_800_000_000
CURVE = ec.SECP256R1()
EK = ec.generate_private_key(CURVE)
AK = ec.generate_private_key(CURVE)
MAKER = ec.generate_private_key(CURVE)

IN_TPM = Attributes.FIXED_TPM | Attributes.FIXED_PARENT | Attributes.SENSITIVE_DATA_ORIGIN
AK_ATTRIBUTES = IN_TPM | Attributes.RESTRICTED | Attributes.SIGN
EK_ATTRIBUTES = IN_TPM | Attributes.RESTRICTED | Attributes.DECRYPT | Attributes.ADMIN_WITH_POLICY


def public_area(
    key: ec.EllipticCurvePrivateKey, attributes: int, *, storage: bool = False, scheme: int = 0x18
) -> bytes:
    """``TPMT_PUBLIC`` of a P-256 key."""
    numbers = key.public_key().public_numbers()
    symmetric = b"\x00\x06\x00\x80\x00\x43" if storage else b"\x00\x10"
    signing = b"\x00\x10" if storage else scheme.to_bytes(2, "big") + b"\x00\x0b"
    point = b"".join(sized(value.to_bytes(32, "big")) for value in (numbers.x, numbers.y))
    head = b"\x00\x23\x00\x0b" + int(attributes).to_bytes(4, "big") + sized(b"")
    return head + symmetric + signing + b"\x00\x03\x00\x10" + point


def certificate(
    key: ec.EllipticCurvePublicKey,
    *,
    ca: bool = False,
    model: str = "SLB9670",
    purpose: x509.ObjectIdentifier = EK_PURPOSE,
    maker: ec.EllipticCurvePrivateKey = MAKER,
) -> bytes:
    """By a maker of TPMs, as they come: empty subject, critical directory name."""
    begins = datetime.fromtimestamp(NOW, UTC) - timedelta(days=1)
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "maker")])
    named = x509.Name([x509.NameAttribute(x509.ObjectIdentifier("2.23.133.2.2"), model)])
    usage = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    usage["key_cert_sign" if ca else "key_agreement"] = True
    builder = (
        x509.CertificateBuilder(issuer_name=issuer, subject_name=issuer if ca else x509.Name([]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), True)
        .add_extension(x509.KeyUsage(**usage), True)
    )
    if not ca:
        names = x509.SubjectAlternativeName([x509.DirectoryName(named)])
        builder = builder.add_extension(names, True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), False)
    return builder.sign(maker, hashes.SHA256()).public_bytes(Encoding.DER)


ROOT = Link.parse(certificate(MAKER.public_key(), ca=True))
EK_PUBLIC = public_area(EK, EK_ATTRIBUTES, storage=True)
AK_PUBLIC = public_area(AK, AK_ATTRIBUTES)
EK_CERTIFICATE = certificate(EK.public_key())


def judge(**more: Any) -> EndorsementJudge:
    return EndorsementJudge(roots=[ROOT], intermediates=[], **more)


def why(step: Callable[[], object]) -> Rejection:
    with pytest.raises(TrustError) as caught:
        step()
    return caught.value.reason


def service(judging: EndorsementJudge, *, limit: int = 8) -> AttestationCaService:
    return AttestationCaService(
        AkAuthority.create("ca", lifetime_s=86_400, now=NOW, unsafe_swtpm=judging.unsafe_swtpm),
        judging,
        Challenges(limit=limit, lifetime_s=30),
        EventLog(Component.ATTESTATION_CA, stream=io.StringIO()),
        certificate_lifetime_s=3600,
        clock=lambda: NOW,
    )


ASKED = pb.ChallengeRequest(ek_certificate=EK_CERTIFICATE, ek_public=EK_PUBLIC, ak_public=AK_PUBLIC)


def test_a_known_makers_endorsement_key_is_believed() -> None:
    """Certificate, public area and attributes fit; the machine is on the list."""
    mine = spki_sha256(EK.public_key())
    area = judge(machines={mine}).verify(EK_CERTIFICATE, EK_PUBLIC, NOW)
    assert area.key == EK.public_key()


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (
            lambda: judge().verify(certificate(EK.public_key(), maker=AK), EK_PUBLIC, NOW),
            Rejection.UNKNOWN_KEY,
        ),
        (
            lambda: judge(machines={"00" * 32}).verify(EK_CERTIFICATE, EK_PUBLIC, NOW),
            Rejection.UNKNOWN_KEY,
        ),
        (
            lambda: judge().verify(
                EK_CERTIFICATE, public_area(AK, EK_ATTRIBUTES, storage=True), NOW
            ),
            Rejection.KEY_BINDING,
        ),
        (
            lambda: judge().verify(EK_CERTIFICATE, public_area(EK, AK_ATTRIBUTES), NOW),
            Rejection.KIND_NOT_ACCEPTED,
        ),
        (
            lambda: judge().verify(certificate(EK.public_key(), model="swtpm"), EK_PUBLIC, NOW),
            Rejection.KIND_NOT_ACCEPTED,
        ),
        (
            lambda: judge().verify(
                certificate(EK.public_key(), purpose=x509.ObjectIdentifier("2.23.133.8.3")),
                EK_PUBLIC,
                NOW,
            ),
            Rejection.CHAIN,
        ),
        (lambda: judge().verify(EK_CERTIFICATE, EK_PUBLIC, NOW + 60 * 86_400), Rejection.EXPIRED),
    ],
    ids=[
        "unknown maker",
        "unlisted machine",
        "another key",
        "no storage key",
        "software TPM",
        "other purpose",
        "expired",
    ],
)
def test_any_other_endorsement_is_refused(step: Callable[[], object], expected: Rejection) -> None:
    """Each lie about the endorsement key has its reason."""
    assert why(step) is expected


@pytest.mark.parametrize(
    "attributes",
    [
        AK_ATTRIBUTES & ~Attributes.RESTRICTED,
        AK_ATTRIBUTES & ~Attributes.FIXED_TPM,
        AK_ATTRIBUTES & ~Attributes.FIXED_PARENT,
        AK_ATTRIBUTES & ~Attributes.SENSITIVE_DATA_ORIGIN,
        AK_ATTRIBUTES | Attributes.DECRYPT,
        AK_ATTRIBUTES | Attributes.ENCRYPTED_DUPLICATION,
    ],
    ids=["unrestricted", "not of the TPM", "movable", "brought in", "decrypts", "duplicable"],
)
def test_a_key_that_could_lie_or_leave_is_not_certified(attributes: Attributes) -> None:
    """An unrestricted key signs quotes that no TPM made; one that moves is in two places."""
    verify_attestation_key(AK_PUBLIC)
    key = public_area(AK, attributes)
    assert why(lambda: verify_attestation_key(key)) is Rejection.KIND_NOT_ACCEPTED


def test_a_challenge_is_open_once_for_a_while() -> None:
    """One try, right or wrong; not after its time; not more than the limit."""
    area = PublicArea.parse(AK_PUBLIC)
    challenges = Challenges(limit=2, lifetime_s=30)
    first, secret = challenges.begin(area, NOW)
    assert challenges.finish(first, secret, NOW) is area
    assert why(lambda: challenges.finish(first, secret, NOW)) is Rejection.CHALLENGE
    second, secret = challenges.begin(area, NOW)
    assert why(lambda: challenges.finish(second, bytes(32), NOW)) is Rejection.CHALLENGE
    assert why(lambda: challenges.finish(second, secret, NOW)) is Rejection.CHALLENGE
    third, secret = challenges.begin(area, NOW)
    assert why(lambda: challenges.finish(third, secret, NOW + 30)) is Rejection.EXPIRED
    for _ in range(2):
        challenges.begin(area, NOW)
    with pytest.raises(CloudRefused) as caught:
        challenges.begin(area, NOW)
    assert caught.value.refusal is RefusalCode.BUSY
    challenges.begin(area, NOW + 31)
    assert len(challenges) == 1


def test_a_certificate_is_for_the_challenged_key() -> None:
    """It chains to the CA, is short-lived, and is refused after its time."""
    ca = service(judge())
    asked = ca.challenge(ASKED)
    secret = ca._challenges._open[asked.challenge_id].secret
    shown = pb.CertifyRequest(challenge_id=asked.challenge_id, secret=secret)
    chain = ca.certify(shown).ak_chain
    root = Link.parse(ca._authority.certificate.public_bytes(Encoding.DER))
    leaf = verify_chain(chain, [root], NOW)[0]
    assert leaf.key == AK.public_key()
    assert not leaf.unsafe_swtpm
    assert why(lambda: verify_chain(chain, [root], NOW + 3600)) is Rejection.EXPIRED


def test_an_unknown_maker_costs_no_challenge() -> None:
    """Refused before a secret is made: strangers cannot fill the table."""
    ca = service(judge(machines={"00" * 32}))
    with pytest.raises(EvidenceRejected):
        ca.challenge(ASKED)
    assert len(ca._challenges) == 0


def test_a_ca_is_for_one_kind_of_tpm() -> None:
    """A key for hardware never certifies software TPMs, whatever the configuration says."""
    marked = AkAuthority.create("ca", lifetime_s=60, now=NOW, unsafe_swtpm=True)
    with pytest.raises(ConfigError):
        AttestationCaService(
            marked,
            judge(),
            Challenges(limit=1, lifetime_s=1),
            EventLog(Component.ATTESTATION_CA, stream=io.StringIO()),
            certificate_lifetime_s=60,
        )


@pytest.mark.parametrize(
    "values",
    [
        {"profile": "production", "unsafe_swtpm_roots": ["x"]},
        {"profile": "production", "ek_roots": ["x"]},
        {"profile": "development", "ek_roots": ["x"], "unsafe_swtpm_roots": ["x"]},
        {"profile": "development"},
    ],
    ids=["software in production", "everybody's machines", "both kinds", "no kind"],
)
def test_a_configuration_that_could_certify_too_much_is_refused(
    values: dict[str, Any], tmp_path: Path
) -> None:
    """Production names vendors' roots and its own machines, and no software TPM."""
    common = {
        "listen": ListenConfig(identity=tmp_path / "ca"),
        "signing_key": tmp_path / "k",
        "certificate": tmp_path / "c",
    }
    with pytest.raises(ValidationError):
        AttestationCaConfig(**common, **values)
    AttestationCaConfig(
        **common, profile="production", ek_roots=["x"], endorsement_keys=["00" * 32]
    )


def test_the_cas_files_are_read_back(tmp_path: Path) -> None:
    """Key readable by its owner only; a certificate of another key is refused."""
    made = AkAuthority.create("ca", lifetime_s=60, now=time.time(), unsafe_swtpm=False)
    key, own = tmp_path / "k.pem", tmp_path / "c.pem"
    made.write(key, own)
    assert key.stat().st_mode & 0o777 == 0o600
    assert AkAuthority.read(key, own).pem == made.pem
    other = AkAuthority.create("ca", lifetime_s=60, now=time.time(), unsafe_swtpm=False)
    own.write_text(other.pem)
    with pytest.raises(ConfigError):
        AkAuthority.read(key, own)
