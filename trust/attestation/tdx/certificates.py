"""Certificate chains as PEM text, in the one form that is accepted, and Intel's revocation lists.

`dcap-qvl` checks signatures. What it does not look at is checked here: the layout of the text, the
copy of the root in each chain, who a chain's first certificate is, and how old things are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from lanai.errors import Rejection
from trust.attestation.tdx.refusals import malformed, rejected

__all__ = ["CertificateChain", "RevocationList", "canonical_pem", "check_window"]

_MAX_CHAIN_BYTES = 16 * 1024
_MAX_CHAIN = 4
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    Warning,  # When the program turns warnings into errors.
)


@dataclass(frozen=True, slots=True)
class CertificateChain:
    """Certificates of one PEM text, the subject's first, the root last. Nothing is verified."""

    certificates: tuple[x509.Certificate, ...]
    pem: bytes

    @classmethod
    def parse(cls, pem: bytes) -> "CertificateChain":
        """Raises ``EvidenceRejected`` (``malformed``) unless ``pem`` is `canonical_pem`."""
        certificates = _load(pem)
        if not 1 < len(certificates) <= _MAX_CHAIN or _text(certificates) != pem:
            raise malformed("a certificate chain is not in its one form")
        return cls(certificates, pem)

    @property
    def names(self) -> tuple[str, ...]:
        """The common names, root last."""
        return tuple(_common_name(certificate) for certificate in self.certificates)

    def issuers(self) -> bytes:
        """The chain's text without the first certificate."""
        return _text(self.certificates[1:])

    def root(self, accepted: Sequence[str]) -> bytes:
        """The root (DER), which is one of ``accepted`` (SHA-256, hex). ``unknown_key`` if not."""
        root = self.certificates[-1].public_bytes(Encoding.DER)
        if sha256(root).hexdigest() not in accepted:
            raise rejected("a chain ends in an unknown root", Rejection.UNKNOWN_KEY)
        return root

    def check_window(self, now: float) -> None:
        """Raises ``EvidenceRejected`` (``not_yet_valid``, ``expired``)."""
        for certificate in self.certificates:
            window = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
            check_window("a certificate", window, now)


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A parsed list. Nothing about it is verified."""

    parsed: x509.CertificateRevocationList
    window: tuple[datetime, datetime]

    @classmethod
    def parse(cls, der: bytes) -> "RevocationList":
        """Raises ``EvidenceRejected`` (``malformed``)."""
        try:
            parsed = x509.load_der_x509_crl(der)
            window = (parsed.last_update_utc, parsed.next_update_utc)
            signature = parsed.signature
        except _UNREADABLE as error:
            raise malformed("not a certificate revocation list") from error
        # The signature is a BIT STRING whose count of unused bits nobody signed: it must be zero.
        if window[1] is None or not der.endswith(b"\x00" + signature):
            raise malformed("a revocation list is not of the agreed form")
        return cls(parsed, (window[0], window[1]))

    def check_absent(self, certificate: x509.Certificate) -> None:
        """Raises ``EvidenceRejected`` (``revoked``, ``malformed``)."""
        try:
            entry = self.parsed.get_revoked_certificate_by_serial_number(certificate.serial_number)
        except _UNREADABLE as error:
            raise malformed("a revocation list is unreadable") from error
        if entry is not None:
            raise rejected("a certificate was revoked", Rejection.REVOKED)


def canonical_pem(pem: bytes) -> bytes:
    """The same certificates in the one accepted form: 64 columns, LF, nothing between them."""
    return _text(_load(pem))


def check_window(what: str, window: tuple[datetime, datetime], now: float) -> None:
    """Raises ``EvidenceRejected`` (``not_yet_valid``, ``expired``)."""
    when = datetime.fromtimestamp(now, UTC)
    if when < window[0]:
        raise rejected(f"{what} is not valid yet", Rejection.NOT_YET_VALID)
    if when > window[1]:
        raise rejected(f"{what} has expired", Rejection.EXPIRED)


def _load(pem: bytes) -> tuple[x509.Certificate, ...]:
    if len(pem) > _MAX_CHAIN_BYTES:
        raise rejected("a certificate chain is too long", Rejection.TOO_LARGE)
    try:
        certificates = tuple(x509.load_pem_x509_certificates(pem))
        for certificate in certificates:
            certificate.subject  # noqa: B018  parsed here, so that its errors come here
    except _UNREADABLE as error:
        raise malformed("not a chain of X.509 certificates") from error
    return certificates


def _text(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""
