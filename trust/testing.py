"""A whole world of trust in memory, for tests: log, witnesses, trust root, nodes with real bundles.

Everything in it is the real code with fresh keys, so what a test verifies is verified. The evidence
is ``unsafe_software``, and the root is a development one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from trust.attestation import (
    One,
    Release,
    UnsafeSoftwareAttester,
    UnsafeSoftwarePolicy,
    report_data,
)
from trust.bundle import Checkpoint, LogProof, NodeBundle
from trust.certificate import NodeCertificate
from trust.keys import KeyRecord, KeyVerifier, LoggedKey
from trust.log.merkle import Tree, leaf_hash
from trust.log.notes import NoteSigner
from trust.log.witness import WitnessState
from trust.root import Endpoint, TrustRoot
from trust.verification import NodeVerifier, VerifiedNode

__all__ = ["NodeTls", "UnsafeTrustWorld", "unsafe_release"]

_HOUR = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTls:
    """A self-signed P-256 certificate (DER) and its key."""

    key: ec.EllipticCurvePrivateKey
    certificate: bytes

    @classmethod
    def generate(cls, *, now: int, hours: int = 24) -> "NodeTls":
        """Valid from an hour before ``now`` (unix seconds) for ``hours`` after it."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "node.invalid")])
        made = datetime.fromtimestamp(now, UTC)
        certificate = (
            x509.CertificateBuilder(subject_name=name, issuer_name=name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(made - timedelta(hours=1))
            .not_valid_after(made + timedelta(hours=hours))
            .sign(key, hashes.SHA256())
        )
        return cls(key=key, certificate=certificate.public_bytes(Encoding.DER))

    @property
    def pem(self) -> str:
        """The certificate, PEM."""
        certificate = x509.load_der_x509_certificate(self.certificate)
        return certificate.public_bytes(Encoding.PEM).decode("ascii")


class UnsafeTrustWorld:
    """``now`` is the world's time (unix seconds); nothing in it reads a clock."""

    def __init__(self, *, now: int, witnesses: int = 3, quorum: int = 2) -> None:
        self.now = now
        self.operator_key = Ed25519PrivateKey.generate()
        self.log_signer = NoteSigner("log.invalid/releases", Ed25519PrivateKey.generate())
        self.origin = self.log_signer.verifier.name
        self.tree = Tree()
        self.witness_signers = [
            NoteSigner.cosigner(f"witness{i}.invalid", Ed25519PrivateKey.generate())
            for i in range(witnesses)
        ]
        self._witnesses = [
            WitnessState(
                signer, {self.origin: self.log_signer.verifier}, persist=lambda state: None
            )
            for signer in self.witness_signers
        ]
        self._leaves: list[bytes] = []
        self.root = self._make_root(quorum)

    def _make_root(self, quorum: int) -> TrustRoot:
        pinned = NodeTls.generate(now=self.now).pem
        public_key = self.operator_key.public_key().public_bytes_raw()
        return TrustRoot(
            profile="development",
            relay=Endpoint(address="127.0.0.1:1", certificate=pinned),
            issuer=Endpoint(address="127.0.0.1:2", certificate=pinned),
            token_challenge="00",  # noqa: S106  no secret: what tokens are for
            log_origin=self.origin,
            log_key=self.log_signer.vkey,
            witnesses=tuple(signer.vkey for signer in self.witness_signers),
            quorum=quorum,
            checkpoint_max_age_s=24 * _HOUR,
            node_max_lifetime_s=24 * _HOUR,
            key_max_lifetime_s=7 * 24 * _HOUR,
            evidence=One(UnsafeSoftwarePolicy((public_key.hex(),))),
        )

    def append(self, leaf: bytes) -> int:
        """Add a leaf to the log, once; return its index."""
        if leaf not in self._leaves:
            self._leaves.append(leaf)
            self.tree.append(leaf_hash(leaf))
        return self._leaves.index(leaf)

    def checkpoint(self, *, cosigners: Iterable[int] | None = None) -> bytes:
        """The newest checkpoint, cosigned by the witnesses of these numbers (all when None)."""
        text = Checkpoint(origin=self.origin, size=self.tree.size, root=self.tree.root()).format()
        note = signed = self.log_signer.sign(text)
        for number in range(len(self._witnesses)) if cosigners is None else cosigners:
            witness = self._witnesses[number]
            old = witness.latest(self.origin).size
            proof = self.tree.consistency(old)
            note += witness.add_checkpoint(old, proof, signed, self.now)
        return note

    def bundle(
        self,
        hpke_public_key: bytes,
        *,
        release: Release | None = None,
        tls: NodeTls | None = None,
        checkpoint: bytes | None = None,
        lifetime_s: int = _HOUR,
    ) -> NodeBundle:
        """A bundle that verifies under ``root`` now; its release is logged if it was not."""
        release = release or unsafe_release()
        tls = tls or NodeTls.generate(now=self.now)
        index = self.append(release.canonical())
        expires_at = self.now + lifetime_s
        spki = NodeCertificate.parse(tls.certificate).spki_sha256
        bound = report_data(hpke_public_key, spki, self.now, expires_at)
        return NodeBundle(
            hpke_public_key=hpke_public_key,
            tls_certificate=tls.certificate,
            not_before=self.now,
            expires_at=expires_at,
            evidence=(UnsafeSoftwareAttester(self.operator_key, release).attest(bound),),
            release=release,
            proof=LogProof(
                index=index,
                hashes=self.tree.inclusion(index),
                checkpoint=checkpoint or self.checkpoint(),
            ),
        )

    def logged(self, record: KeyRecord, *, checkpoint: bytes | None = None) -> LoggedKey:
        """``record`` with its proof; it is logged if it was not."""
        index = self.append(record.canonical())
        proof = LogProof(
            index=index,
            hashes=self.tree.inclusion(index),
            checkpoint=checkpoint or self.checkpoint(),
        )
        return LoggedKey(record=record, proof=proof)

    def key_verifier(self, root: TrustRoot | None = None) -> KeyVerifier:
        """The real verifier of keys at the world's time."""
        return KeyVerifier(root or self.root, clock=lambda: float(self.now))

    def verifier(self, root: TrustRoot | None = None) -> NodeVerifier:
        """The real verifier at the world's time."""
        return NodeVerifier(root or self.root, clock=lambda: float(self.now))

    def verified(self, hpke_public_key: bytes, *, tls: NodeTls | None = None) -> VerifiedNode:
        """A verified node with that key, by way of `bundle` and the real verifier."""
        return self.verifier().verify(self.bundle(hpke_public_key, tls=tls))


def unsafe_release(*, model: str = "toy", context_tokens: int = 512) -> Release:
    """A release record of nothing."""
    return Release(
        software="11" * 32,
        weights="22" * 32,
        configuration="33" * 32,
        model=model,
        context_tokens=context_tokens,
    )
