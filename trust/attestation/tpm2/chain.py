"""Certificate chains of TPM keys, leaf first, up to a root that is given.

Walked by hand: EK certificates have an empty subject and a critical directory name, AK certificates
carry TCG key purposes, and neither names a host, so web verifiers refuse them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NoReturn, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtensionOID

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.tpm2.structures import PublicKey

__all__ = [
    "AK_PURPOSE",
    "EK_PURPOSE",
    "MAX_CERTIFICATE_BYTES",
    "MAX_CHAIN",
    "UNSAFE_SWTPM_PURPOSE",
    "Link",
    "verify_chain",
]

EK_PURPOSE: Final = x509.ObjectIdentifier("2.23.133.8.1")  # tcg-kp-EKCertificate
AK_PURPOSE: Final = x509.ObjectIdentifier("2.23.133.8.3")  # tcg-kp-AIKCertificate
UNSAFE_SWTPM_PURPOSE: Final = x509.ObjectIdentifier("2.25.265327759492538369048816956076791386268")
"""Our own mark (a UUID under 2.25) of a software TPM's key, and of the authority that certifies
such keys: whatever carries it is refused where hardware is asked for."""

E = TypeVar("E", bound=x509.ExtensionType)

MAX_CHAIN: Final = 4
MAX_CERTIFICATE_BYTES: Final = 4096
_CLOCK_SKEW_S: Final = 300
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One certificate, read strictly. ``purposes`` is None where it names none."""

    certificate: x509.Certificate = field(repr=False)
    key: PublicKey
    is_authority: bool
    path_length: int | None
    usage: x509.KeyUsage | None
    purposes: frozenset[x509.ObjectIdentifier] | None
    model: str
    """TPM model of an EK certificate's subject alternative name; empty where there is none."""

    @property
    def unsafe_swtpm(self) -> bool:
        """Whether it carries the mark of a software TPM."""
        return self.purposes is not None and UNSAFE_SWTPM_PURPOSE in self.purposes

    @classmethod
    def parse(cls, der: bytes) -> "Link":
        """Raises ``EvidenceRejected`` (``malformed``, ``too_large``, ``chain``)."""
        if len(der) > MAX_CERTIFICATE_BYTES:
            _refuse("a certificate is too long", Rejection.TOO_LARGE)
        try:
            certificate = x509.load_der_x509_certificate(der)
            key, extensions = certificate.public_key(), certificate.extensions
            # Names and times are read when they are asked for: what does not read fails here.
            _ = certificate.subject, certificate.issuer
            _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
            purposes = _extension(extensions, x509.ExtendedKeyUsage)
            constraints = _extension(extensions, x509.BasicConstraints)
            usage = _extension(extensions, x509.KeyUsage)
            model = _model(extensions)
            algorithm = certificate.signature_hash_algorithm
        # A Warning arrives here when the program turns warnings into errors.
        except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, Warning) as error:
            raise _rejected("no certificate", Rejection.MALFORMED) from error
        except (x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
            raise _rejected("no certificate", Rejection.MALFORMED) from error
        # The signature is a BIT STRING whose count of unused bits nobody signed: it must be zero.
        if not der.endswith(b"\x00" + certificate.signature):
            _refuse("a certificate's signature is not whole bytes", Rejection.MALFORMED)
        if any(item.critical and item.oid not in _UNDERSTOOD for item in extensions):
            _refuse("a critical extension is not understood", Rejection.CHAIN)
        if not isinstance(algorithm, _HASHES):
            _refuse("a certificate is signed over a hash that is not accepted", Rejection.CHAIN)
        return cls(
            certificate=certificate,
            key=_strong(key),
            is_authority=constraints is not None and constraints.ca,
            path_length=constraints.path_length if constraints else None,
            usage=usage,
            purposes=frozenset(purposes) if purposes is not None else None,
            model=model,
        )

    def require_valid(self, now: float) -> None:
        """Raises ``EvidenceRejected`` (``expired``, ``not_yet_valid``)."""
        if now >= self.certificate.not_valid_after_utc.timestamp():
            _refuse("a certificate has expired", Rejection.EXPIRED)
        if now + _CLOCK_SKEW_S < self.certificate.not_valid_before_utc.timestamp():
            _refuse("a certificate is not valid yet", Rejection.NOT_YET_VALID)

    def require_issued_by(self, issuer: "Link") -> None:
        """Raises ``EvidenceRejected`` (``chain``)."""
        try:
            self.certificate.verify_directly_issued_by(issuer.certificate)
        except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _rejected("a certificate is not of the next one", Rejection.CHAIN) from error


def verify_chain(chain: Sequence[bytes], roots: Sequence[Link], now: float) -> tuple[Link, ...]:
    """Leaf to root, verified; ``chain`` is DER, leaf first, each issued by the next.

    1. Every certificate parses, is valid at ``now`` and is used.
    2. Each is issued by the next; the last by one of ``roots``.
    3. Every issuer may issue, at that depth. The leaf may not.

    Raises ``EvidenceRejected``: ``malformed``, ``too_large``, ``expired``, ``not_yet_valid``,
    ``chain``, ``unknown_key``.
    """
    if not 0 < len(chain) <= MAX_CHAIN:
        _refuse("a chain of no or too many certificates", Rejection.TOO_LARGE)
    links = [Link.parse(der) for der in chain]  # 1
    links.append(_root_of(links[-1], roots))
    for link in links:
        link.require_valid(now)
    for link, issuer in pairwise(links[:-1]):  # 2
        link.require_issued_by(issuer)
    for depth, issuer in enumerate(links[1:]):  # 3
        _require_authority(issuer, depth)
    if links[0].is_authority:
        _refuse("an authority's certificate in place of a key's", Rejection.CHAIN)
    return tuple(links)


def _root_of(link: Link, roots: Sequence[Link]) -> Link:
    """The root that issued ``link``."""
    for root in roots:
        try:
            link.require_issued_by(root)
        except EvidenceRejected:
            continue
        return root
    raise _rejected("the chain ends at no root that is known", Rejection.UNKNOWN_KEY)


def _require_authority(issuer: Link, depth: int) -> None:
    """``depth`` is how many authorities stand below."""
    usage = issuer.usage
    if not issuer.is_authority or usage is None or not usage.key_cert_sign:
        _refuse("a certificate is issued by what may not issue", Rejection.CHAIN)
    if issuer.path_length is not None and issuer.path_length < depth:
        _refuse("the chain is longer than an authority allows", Rejection.CHAIN)


def _strong(key: object) -> PublicKey:
    if isinstance(key, rsa.RSAPublicKey) and 2048 <= key.key_size <= 4096:
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in ("secp256r1", "secp384r1"):
        return key
    raise _rejected("a certificate's key is of a kind that is not accepted", Rejection.CHAIN)


def _extension(extensions: x509.Extensions, kind: type[E]) -> E | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _model(extensions: x509.Extensions) -> str:
    """tcg-at-tpmModel (2.23.133.2.2), TCG EK Credential Profile section 3.1.2."""
    names = _extension(extensions, x509.SubjectAlternativeName)
    wanted = x509.ObjectIdentifier("2.23.133.2.2")
    for name in names or ():
        if isinstance(name, x509.DirectoryName):
            for attribute in name.value.get_attributes_for_oid(wanted):
                return str(attribute.value)
    return ""


def _refuse(message: str, reason: Rejection) -> NoReturn:
    raise _rejected(message, reason)


def _rejected(message: str, reason: Rejection) -> EvidenceRejected:
    return EvidenceRejected(f"certificate chain: {message}", reason=reason)
