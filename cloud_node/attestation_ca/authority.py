"""The CA's own key and certificate, and the certificates it signs."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from cloud_node.keyfiles import write_secret
from lanai.errors import ConfigError
from trust.attestation.tpm2.chain import AK_PURPOSE, UNSAFE_SWTPM_PURPOSE, Link
from trust.attestation.tpm2.structures import PublicArea

__all__ = ["AkAuthority"]

_SKEW_S: Final = 60
_CURVE: Final = ec.SECP256R1()


@dataclass(frozen=True, slots=True, kw_only=True)
class AkAuthority:
    """A P-256 key and its self-signed certificate, which says whether it is for software TPMs."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate

    @classmethod
    def create(cls, name: str, *, lifetime_s: int, now: float, unsafe_swtpm: bool) -> Self:
        """A new key; the certificate holds for ``lifetime_s`` seconds from ``now`` (unix)."""
        key = ec.generate_private_key(_CURVE)
        builder = _builder(_name(name), _name(name), key.public_key(), now, lifetime_s)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        builder = builder.add_extension(_usage(certificates=True), True)
        if unsafe_swtpm:
            builder = builder.add_extension(x509.ExtendedKeyUsage([UNSAFE_SWTPM_PURPOSE]), False)
        return cls(key=key, certificate=builder.sign(key, hashes.SHA256()))

    @classmethod
    def read(cls, key: Path, certificate: Path) -> Self:
        """From two PEM files. Raises ``ConfigError``."""
        try:
            private = load_pem_private_key(key.read_bytes(), password=None)
            own = x509.load_pem_x509_certificate(certificate.read_bytes())
        except OSError as error:
            raise ConfigError(f"cannot read the CA's files: {error.strerror}") from None
        except (ValueError, TypeError):
            raise ConfigError("the CA's files hold no key and certificate in PEM") from None
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.key_size != 256:
            raise ConfigError("the CA's key is not on P-256")
        if private.public_key() != own.public_key():
            raise ConfigError("the CA's key does not belong to its certificate")
        return cls(key=private, certificate=own)

    def write(self, key: Path, certificate: Path) -> None:
        """As two PEM files, the key readable by this user only."""
        form = PrivateFormat.PKCS8
        write_secret(key, self.key.private_bytes(Encoding.PEM, form, NoEncryption()))
        certificate.write_text(self.pem, encoding="ascii")

    @property
    def pem(self) -> str:
        """Its certificate: the root that a device is given."""
        return self.certificate.public_bytes(Encoding.PEM).decode("ascii")

    @property
    def unsafe_swtpm(self) -> bool:
        """Whether its own certificate carries the mark."""
        return Link.parse(self.certificate.public_bytes(Encoding.DER)).unsafe_swtpm

    def certify(self, area: PublicArea, *, lifetime_s: int, now: float) -> tuple[bytes, ...]:
        """The chain (DER) for an attestation key that was judged: one certificate."""
        if not isinstance(area.key, ec.EllipticCurvePublicKey):
            raise ConfigError("this CA certifies keys on P-256")
        mark = [UNSAFE_SWTPM_PURPOSE] if self.unsafe_swtpm else []
        subject = _name(f"AK {area.name.hex()[4:20]}")
        builder = _builder(self.certificate.subject, subject, area.key, now, lifetime_s)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        builder = builder.add_extension(_usage(certificates=False), True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([AK_PURPOSE, *mark]), False)
        return (builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER),)


def _builder(
    issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey, now: float, seconds: int
) -> x509.CertificateBuilder:
    begins = datetime.fromtimestamp(int(now), UTC) - timedelta(seconds=_SKEW_S)
    return (
        x509.CertificateBuilder(issuer_name=issuer, subject_name=subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(seconds=seconds + _SKEW_S))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
