"""The certificate chain of an NVIDIA device, from the key that signs reports to the pinned root.

A DICE chain: the boot ROM's key, certified by NVIDIA at provisioning, certifies a key derived from
the firmware it started (TCG DICE Attestation Architecture, 2.23.133.5.4.1). So the leaf names the
firmware by digest, and the device by the name NVIDIA gave it.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.nvidia.refusals import rejected

__all__ = ["MAX_CERTIFICATE_BYTES", "Certificate", "Device"]

MAX_CERTIFICATE_BYTES = 2048
_CURVE = "secp384r1"
_NAME_OID = x509.ObjectIdentifier("1.3.6.1.4.1.412.274.1")
_FIRMWARE_OID = x509.ObjectIdentifier("2.23.133.5.4.1")
_NAME = re.compile(r"NVIDIA:(?P<model>[A-Z0-9_]{2,16}):[0-9A-F]{1,32}")
_UTF8_TAG, _SHORT = 0x0C, 0x80
_SHA384_DIGEST = bytes.fromhex("303d06096086480165030402020430")
"""SEQUENCE of the SHA-384 identifier and an octet string of 48 bytes, which ends the extension."""
_FWID_BYTES = 48
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    Warning,  # When the program turns warnings into errors.
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """One parsed certificate. Nothing about it is checked yet but its form."""

    parsed: x509.Certificate
    sha256: str

    @classmethod
    def parse(cls, der: bytes) -> "Certificate":
        """Raises ``EvidenceRejected`` (``malformed``, ``too_large``)."""
        if len(der) > MAX_CERTIFICATE_BYTES:
            raise rejected("a certificate is too long", Rejection.TOO_LARGE)
        try:
            certificate = x509.load_der_x509_certificate(der)
            certificate.extensions  # noqa: B018  parsed here, so that its errors come here
            key = certificate.public_key()
        except _UNREADABLE as error:
            raise _malformed("not an X.509 certificate") from error
        # The signature is a BIT STRING whose count of unused bits nobody signed: it must be zero.
        if not der.endswith(b"\x00" + certificate.signature):
            raise _malformed("a certificate's signature is not whole bytes")
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != _CURVE:
            raise _malformed("a certificate's key is not on P-384")
        return cls(certificate, sha256(der).hexdigest())

    @property
    def key(self) -> ec.EllipticCurvePublicKey:
        key = self.parsed.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise _malformed("a certificate's key is not on P-384")
        return key

    def check_window(self, now: float) -> None:
        """Raises ``EvidenceRejected`` (``not_yet_valid``, ``expired``)."""
        when = datetime.fromtimestamp(now, UTC)
        if when < self.parsed.not_valid_before_utc:
            raise rejected("a certificate is not valid yet", Rejection.NOT_YET_VALID)
        if when > self.parsed.not_valid_after_utc:
            raise rejected("a certificate has expired", Rejection.EXPIRED)

    def check_issued_by(self, issuer: "Certificate") -> None:
        """Raises ``EvidenceRejected`` (``chain``)."""
        extensions = issuer.parsed.extensions
        try:
            is_ca = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
            usage = extensions.get_extension_for_class(x509.KeyUsage).value
            self.parsed.verify_directly_issued_by(issuer.parsed)
        except (x509.ExtensionNotFound, ValueError, TypeError, InvalidSignature) as error:
            raise _broken("a certificate is not issued by the next one") from error
        if not is_ca or not usage.key_cert_sign:
            raise _broken("a certificate's issuer may not issue any")


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A verified device: its model, the key that signs its reports, and its firmware's digest."""

    model: str
    key: ec.EllipticCurvePublicKey
    fwid: bytes

    @classmethod
    def of(cls, leaf: Certificate) -> "Device":
        """What a leaf certificate, whose chain was checked, says. Raises ``EvidenceRejected``."""
        extensions = leaf.parsed.extensions
        try:
            usage = extensions.get_extension_for_class(x509.KeyUsage).value
            names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            firmware = extensions.get_extension_for_oid(_FIRMWARE_OID).value
        except x509.ExtensionNotFound as error:
            raise _broken("the first certificate is not a device's") from error
        if not usage.digital_signature or usage.key_cert_sign:
            raise _broken("the first certificate's key is not for reports")
        return cls(model=_model(names), key=leaf.key, fwid=_fwid(firmware))

    def check_signature(self, signature: bytes, signed: bytes) -> None:
        """Raises ``EvidenceRejected`` (``signature``)."""
        try:
            self.key.verify(signature, signed, ec.ECDSA(hashes.SHA384()))
        except InvalidSignature as error:
            raise rejected("the report's signature does not verify", Rejection.SIGNATURE) from error


def _model(names: x509.SubjectAlternativeName) -> str:
    """The model in the one name of the kind DSP0274 asks for: ``NVIDIA:model:serial``."""
    values = [name.value for name in names.get_values_for_type(x509.OtherName) if _is_name(name)]
    if len(values) == 1:
        value = values[0]
        if value[:1] == bytes((_UTF8_TAG,)) and len(value) == value[1] + 2 < _SHORT:
            found = _NAME.fullmatch(value[2:].decode("ascii", "replace"))
            if found is not None:
                return found["model"]
    raise _broken("the first certificate does not name a device")


def _is_name(name: x509.OtherName) -> bool:
    return name.type_id == _NAME_OID


def _fwid(extension: x509.ExtensionType) -> bytes:
    value = extension.value if isinstance(extension, x509.UnrecognizedExtension) else b""
    head, digest = value[:-_FWID_BYTES], value[-_FWID_BYTES:]
    if not head.endswith(_SHA384_DIGEST):
        raise _broken("the first certificate does not name its firmware")
    return digest


def _malformed(message: str) -> EvidenceRejected:
    return rejected(message, Rejection.MALFORMED)


def _broken(message: str) -> EvidenceRejected:
    return rejected(message, Rejection.CHAIN)
