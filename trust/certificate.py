"""The node's TLS certificate: self-signed, P-256, short-lived. What a channel to the node pins."""

from dataclasses import dataclass
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lanai.errors import Rejection, TrustError
from trust.strict import malformed

__all__ = ["MAX_CERTIFICATE_BYTES", "NodeCertificate"]

MAX_CERTIFICATE_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCertificate:
    """What is used of a certificate. Times are unix seconds; ``public_key`` is on P-256."""

    public_key: ec.EllipticCurvePublicKey
    spki_sha256: bytes
    not_before: float
    not_after: float

    @classmethod
    def parse(cls, der: bytes) -> "NodeCertificate":
        """Read a DER certificate and check its own signature.

        The self-signature proves no identity; it leaves no byte of the certificate free to change.
        Raises ``TrustError`` (``malformed``, ``too_large``, ``signature``).
        """
        if len(der) > MAX_CERTIFICATE_BYTES:
            raise TrustError("the certificate is too long", reason=Rejection.TOO_LARGE)
        try:
            certificate = x509.load_der_x509_certificate(der)
            key = certificate.public_key()
            window = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
            certificate.verify_directly_issued_by(certificate)
        except InvalidSignature as error:
            raise TrustError(
                "the certificate is not signed by its own key", reason=Rejection.SIGNATURE
            ) from error
        # A Warning arrives here when the program turns warnings into errors.
        except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, Warning) as error:
            raise malformed("not a self-signed X.509 certificate") from error
        # The signature is a BIT STRING whose count of unused bits nobody signed: it must be zero.
        if not der.endswith(b"\x00" + certificate.signature):
            raise malformed("the certificate's signature is not whole bytes")
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
            raise malformed("the certificate's key is not on P-256")
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return cls(
            public_key=key,
            spki_sha256=sha256(spki).digest(),
            not_before=window[0].timestamp(),
            not_after=window[1].timestamp(),
        )
