"""TLS of the cloud's own processes: short-lived self-signed keys, pinned by whoever connects.

There is no web PKI here: a channel trusts exactly one certificate, learned from the trust root or
from a verified bundle. Both ends are gRPC's BoringSSL, which negotiates TLS 1.3; a downgrade by
somebody in between is caught by TLS 1.3 itself (RFC 8446 section 4.1.3).
"""

import datetime
import hashlib
from dataclasses import dataclass, field

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lanai.errors import ConfigError

__all__ = [
    "CHANNEL_OPTIONS",
    "SERVER_OPTIONS",
    "TLS_NAME",
    "TlsIdentity",
    "certificate_pem",
    "open_channel",
    "server_credentials",
    "signed_by_certificate",
    "spki_sha256",
]

TLS_NAME = "lanai.internal"
DAY_S = 24 * 3600
CLOCK_SKEW_S = 300
MAX_MESSAGE_BYTES = 1024 * 1024

Options = tuple[tuple[str, int | str], ...]

CHANNEL_OPTIONS: Options = (
    # A peer that froze is noticed within 2 s; without ping_timeout_ms it takes a minute.
    ("grpc.keepalive_time_ms", 2000),
    ("grpc.keepalive_timeout_ms", 1500),
    ("grpc.http2.ping_timeout_ms", 1500),
    # A stream may be silent for long (a slow prefill) and still be alive.
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Two channels to one address may pin different certificates: they share no connection.
    ("grpc.use_local_subchannel_pool", 1),
    # What is sealed is sent once. Who retries, and when, is decided above this layer.
    ("grpc.enable_retries", 0),
    # Neither a proxy from the environment nor a service config from DNS has a say.
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.ssl_target_name_override", TLS_NAME),
)

SERVER_OPTIONS: Options = (
    # Quiet streams are pinged by their clients: counting those as strikes would kill them.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 500),
    ("grpc.keepalive_permit_without_calls", 1),
    # A client that froze frees its request within 6 s.
    ("grpc.keepalive_time_ms", 4000),
    ("grpc.keepalive_timeout_ms", 2000),
    # Two servers on one port by mistake must be an error, not a coin toss.
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 1024),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsIdentity:
    """A P-256 key and its certificate. The key signs announcements too, and never leaves memory
    unless the caller writes ``private_key_pem`` somewhere."""

    private_key_pem: bytes = field(repr=False)
    certificate_pem: bytes
    spki_sha256: bytes

    @classmethod
    def generate(
        cls,
        name: str,
        *,
        lifetime_s: int = DAY_S,
        now: datetime.datetime | None = None,
    ) -> "TlsIdentity":
        """A fresh key with a self-signed certificate for ``lanai.internal``, CN ``name``."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _self_sign(key, name, lifetime_s, now or datetime.datetime.now(datetime.UTC))
        return cls(
            private_key_pem=key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
            certificate_pem=certificate.public_bytes(serialization.Encoding.PEM),
            spki_sha256=_spki_sha256(certificate),
        )

    @classmethod
    def from_pem(cls, private_key_pem: bytes, certificate_pem: bytes) -> "TlsIdentity":
        """Read back what ``generate`` made. Raises ``ConfigError`` when the two do not belong."""
        certificate = _parse(certificate_pem)
        identity = cls(
            private_key_pem=private_key_pem,
            certificate_pem=certificate_pem,
            spki_sha256=_spki_sha256(certificate),
        )
        if identity._key().public_key() != certificate.public_key():
            raise ConfigError("the private key does not belong to the certificate")
        return identity

    @property
    def certificate_der(self) -> bytes:
        return _parse(self.certificate_pem).public_bytes(serialization.Encoding.DER)

    def sign(self, data: bytes) -> bytes:
        """ECDSA P-256 over SHA-256 of ``data``, DER."""
        return self._key().sign(data, ec.ECDSA(hashes.SHA256()))

    def _key(self) -> ec.EllipticCurvePrivateKey:
        try:
            key = serialization.load_pem_private_key(self.private_key_pem, password=None)
        except (ValueError, TypeError):
            raise ConfigError("not a private key in PEM") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigError("not an elliptic-curve private key")
        return key


def signed_by_certificate(certificate_der: bytes, signature: bytes, data: bytes) -> bool:
    """Whether ``signature`` over ``data`` was made by the key of this certificate."""
    try:
        key = x509.load_der_x509_certificate(certificate_der).public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return False
        key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def spki_sha256(certificate_der: bytes) -> bytes:
    """SHA-256 of a certificate's SubjectPublicKeyInfo. Raises ``ConfigError`` on other bytes."""
    return _spki_sha256(_parse(certificate_pem(certificate_der)))


def certificate_pem(certificate_der: bytes) -> bytes:
    """The same certificate as gRPC wants it."""
    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
    except ValueError:
        raise ConfigError("not a certificate in DER") from None
    return certificate.public_bytes(serialization.Encoding.PEM)


def server_credentials(identity: TlsIdentity) -> grpc.ServerCredentials:
    """Credentials of a server that shows ``identity`` and asks clients for nothing."""
    return grpc.ssl_server_credentials([(identity.private_key_pem, identity.certificate_pem)])


def open_channel(address: str, pinned_certificate: bytes) -> grpc.aio.Channel:
    """A channel to ``host:port`` that trusts this one PEM certificate and nothing else."""
    return grpc.aio.secure_channel(
        address, grpc.ssl_channel_credentials(pinned_certificate), options=CHANNEL_OPTIONS
    )


def _self_sign(
    key: ec.EllipticCurvePrivateKey, name: str, lifetime_s: int, now: datetime.datetime
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(seconds=CLOCK_SKEW_S))
        .not_valid_after(now + datetime.timedelta(seconds=lifetime_s))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(TLS_NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )


def _parse(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise ConfigError("not a certificate in PEM") from None


def _spki_sha256(certificate: x509.Certificate) -> bytes:
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(spki).digest()
