"""Which endorsement keys are a real TPM's, and which attestation keys deserve a certificate."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.tpm2.chain import EK_PURPOSE, MAX_CHAIN, Link, verify_chain
from trust.attestation.tpm2.structures import ECDSA, SHA256, Attributes, PublicArea, PublicKey

__all__ = ["EndorsementJudge", "spki_sha256", "verify_attestation_key"]

_IN_ONE_TPM: Final = (
    Attributes.FIXED_TPM | Attributes.FIXED_PARENT | Attributes.SENSITIVE_DATA_ORIGIN
)
_STORAGE: Final = _IN_ONE_TPM | Attributes.RESTRICTED | Attributes.DECRYPT
_ATTESTATION: Final = _IN_ONE_TPM | Attributes.RESTRICTED | Attributes.SIGN
_SOFTWARE_MODEL: Final = "swtpm"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndorsementJudge:
    """Whom a CA believes. ``machines`` are digests of endorsement keys (hex); empty: everybody."""

    roots: Sequence[Link]
    intermediates: Sequence[Link]
    machines: Collection[str] = field(default=frozenset())
    unsafe_swtpm: bool = False

    def verify(self, certificate: bytes, public: bytes, now: float) -> PublicArea:
        """The endorsement key of a certificate (DER) and its ``TPMT_PUBLIC``.

        1. The certificate chains to a vendor's root and is for an endorsement key.
        2. The public area is of the same key, which is a storage key that never leaves its TPM.
        3. It is no software TPM's, unless this CA is for those.
        4. The machine is one of the operator's.

        Raises ``EvidenceRejected``.
        """
        # 1
        leaf = verify_chain(self._chain(certificate), self.roots, now)[0]
        _require_endorsement(leaf)
        # 2
        area = PublicArea.parse(public)
        if _spki(area.key) != _spki(leaf.key):
            raise _rejected("the public area is of another key", Rejection.KEY_BINDING)
        if area.attributes & (_STORAGE | Attributes.SIGN) != _STORAGE or not area.symmetric_bits:
            raise _rejected("the key is no endorsement key", Rejection.KIND_NOT_ACCEPTED)
        # 3  a guard against mistakes: a software TPM's CA may write what it likes here
        if not self.unsafe_swtpm and _SOFTWARE_MODEL in leaf.model.lower():
            raise _rejected("a software TPM", Rejection.KIND_NOT_ACCEPTED)
        # 4
        if self.machines and spki_sha256(area.key) not in self.machines:
            raise _rejected("a machine that is not listed", Rejection.UNKNOWN_KEY)
        return area

    def _chain(self, certificate: bytes) -> list[bytes]:
        """The certificate and those that lead from it to a root, as far as they are known."""
        chain, last = [certificate], Link.parse(certificate).certificate
        subjects = {link.certificate.subject: link.certificate for link in self.intermediates}
        while len(chain) < MAX_CHAIN and last.issuer in subjects:
            last = subjects[last.issuer]
            chain.append(last.public_bytes(Encoding.DER))
            if last.issuer == last.subject:
                break
        return chain


def verify_attestation_key(public: bytes) -> PublicArea:
    """An attestation key that signs only what its TPM made, and never leaves it.

    ``kind_not_accepted`` for any other; ``malformed`` when it does not parse.
    """
    area = PublicArea.parse(public)
    never = Attributes.DECRYPT | Attributes.ENCRYPTED_DUPLICATION
    if area.attributes & (_ATTESTATION | never) != _ATTESTATION:
        raise _rejected("the key may sign or be taken elsewhere", Rejection.KIND_NOT_ACCEPTED)
    on_p256 = isinstance(area.key, ec.EllipticCurvePublicKey) and area.key.key_size == 256
    if not on_p256 or area.scheme != ECDSA or area.name_algorithm != SHA256:
        raise _rejected("the key is none of ECDSA on P-256", Rejection.KIND_NOT_ACCEPTED)
    return area


def spki_sha256(key: PublicKey) -> str:
    """SHA-256 (hex) of a key's SubjectPublicKeyInfo."""
    return sha256(_spki(key)).hexdigest()


def _require_endorsement(leaf: Link) -> None:
    usage = leaf.usage
    encrypts = usage is not None and (
        usage.key_encipherment if isinstance(leaf.key, rsa.RSAPublicKey) else usage.key_agreement
    )
    if not encrypts or (leaf.purposes is not None and EK_PURPOSE not in leaf.purposes):
        raise _rejected("the certificate is for no endorsement key", Rejection.CHAIN)


def _spki(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _rejected(message: str, reason: Rejection) -> EvidenceRejected:
    return EvidenceRejected(f"endorsement: {message}", reason=reason)
