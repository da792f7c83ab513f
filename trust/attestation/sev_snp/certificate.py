"""AMD's certificates, read strictly by their one profile (AMD 57230, "VCEK Certificate and KDS").

Read here and not by the library, for two reasons. A VCEK has serial number 0, which RFC 5280
forbids and the library is about to refuse. And what no signature covers (lengths, the outer
algorithm, the count of unused bits) can only be held to one form by whoever reads the bytes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_public_key

from lanai.errors import Rejection
from trust.attestation.sev_snp import der
from trust.attestation.sev_snp.der import DerReader
from trust.attestation.sev_snp.refusal import malformed, rejected

__all__ = ["MAX_CERTIFICATE_BYTES", "AmdCertificate"]

MAX_CERTIFICATE_BYTES: Final = 4096
_RSA_BITS: Final = 4096
# RSASSA-PSS with SHA-384, MGF1 of SHA-384 and 48 bytes of salt (RFC 4055). AMD writes the trailer
# field out, although it is the default; both forms are met.
_HASH: Final = "300d06096086480165030402020500"
_PARAMETERS: Final = f"a00f{_HASH}a11c301a06092a864886f70d010108{_HASH}a203020130"
_PSS: Final = frozenset(
    {
        bytes.fromhex(f"304606092a864886f70d01010a3039{_PARAMETERS}a303020101"),
        bytes.fromhex(f"304106092a864886f70d01010a3034{_PARAMETERS}"),
    }
)
_COMMON_NAME: Final = bytes.fromhex("550403")
_UTF8: Final = 0x0C
_KEY_USAGE: Final = bytes.fromhex("551d0f")
_BASIC_CONSTRAINTS: Final = bytes.fromhex("551d13")
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18
_TIME: Final = re.compile(rb"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class AmdCertificate:
    """What is used of a certificate. Times are unix seconds, extensions by encoded OID."""

    common_name: str
    spki: bytes = field(repr=False)
    not_before: float
    not_after: float
    extensions: Mapping[bytes, bytes] = field(repr=False)
    subject: bytes = field(repr=False)
    issuer: bytes = field(repr=False)
    tbs: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> "AmdCertificate":
        """Read one DER certificate. Raises ``EvidenceRejected`` (``malformed``, ``too_large``)."""
        if len(data) > MAX_CERTIFICATE_BYTES:
            raise rejected("a certificate is too long", Rejection.TOO_LARGE)
        outer = DerReader(data)
        whole = outer.inside(der.SEQUENCE)
        outer.end()
        tbs = whole.element(der.SEQUENCE)
        algorithm = whole.element(der.SEQUENCE)
        signature = whole.whole_bytes()
        whole.end()
        return _read_signed_part(tbs, algorithm, signature)

    @property
    def spki_sha256(self) -> str:
        """SHA-256 of the public key's DER, hex: what a root is pinned by."""
        return sha256(self.spki).hexdigest()

    @property
    def is_authority(self) -> bool:
        """Whether it says that its key signs certificates."""
        constraints = self.extensions.get(_BASIC_CONSTRAINTS)
        if constraints is None:
            return False
        inside = DerReader(constraints).inside(der.SEQUENCE)
        return inside.next_is(der.BOOLEAN) and inside.content(der.BOOLEAN) == b"\xff"

    def check_issued_by(self, issuer: "AmdCertificate") -> None:
        """Raises ``EvidenceRejected`` (``chain``)."""
        if self.issuer != issuer.subject or not issuer.is_authority:
            raise rejected("a certificate names another issuer", Rejection.CHAIN)
        key = _public_key(issuer.spki)
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size != _RSA_BITS:
            raise rejected("an issuer's key is not RSA 4096", Rejection.CHAIN)
        pss = padding.PSS(padding.MGF1(hashes.SHA384()), hashes.SHA384().digest_size)
        try:
            key.verify(self.signature, self.tbs, pss, hashes.SHA384())
        except InvalidSignature as error:
            raise rejected("a certificate's signature does not verify", Rejection.CHAIN) from error

    def check_window(self, now: float) -> None:
        """Raises ``EvidenceRejected`` (``not_yet_valid``, ``expired``)."""
        if now < self.not_before:
            raise rejected(f"{self.common_name} is not valid yet", Rejection.NOT_YET_VALID)
        if now > self.not_after:
            raise rejected(f"{self.common_name} has expired", Rejection.EXPIRED)

    def p384_key(self) -> ec.EllipticCurvePublicKey:
        """The key that signs reports. Raises ``EvidenceRejected`` (``malformed``)."""
        key = _public_key(self.spki)
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp384r1":
            raise malformed("the key of the chip is not on P-384")
        return key


def _read_signed_part(tbs: bytes, algorithm: bytes, signature: bytes) -> AmdCertificate:
    """RFC 5280, 4.1: the fields in their order, none of the optional ones but extensions."""
    reader = DerReader(tbs).inside(der.SEQUENCE)
    if reader.content(0xA0) != b"\x02\x01\x02":
        raise malformed("a certificate is not of version 3")
    reader.number()  # the serial number, 0 for a VCEK
    if reader.element(der.SEQUENCE) != algorithm or algorithm not in _PSS:
        raise malformed("a certificate is not signed by RSA-PSS with SHA-384")
    issuer = reader.element(der.SEQUENCE)
    window = reader.inside(der.SEQUENCE)
    not_before, not_after = _time(window), _time(window)
    window.end()
    subject = reader.element(der.SEQUENCE)
    spki = reader.element(der.SEQUENCE)
    extensions = _extensions(reader.inside(0xA3))
    reader.end()
    return AmdCertificate(
        common_name=_common_name(subject),
        spki=spki,
        not_before=not_before,
        not_after=not_after,
        extensions=extensions,
        subject=subject,
        issuer=issuer,
        tbs=tbs,
        signature=signature,
    )


def _time(reader: DerReader) -> float:
    if reader.next_is(_UTC_TIME):
        # RFC 5280, 4.1.2.5.1: years of two digits are those from 1950 to 2049.
        short = reader.content(_UTC_TIME)
        text = (b"19" if short[:2] >= b"50" else b"20") + short
    else:
        text = reader.content(_GENERALIZED_TIME)
    found = _TIME.fullmatch(text)
    if found is None:
        raise malformed("a certificate has no time where one belongs")
    try:
        year, month, day, hour, minute, second = map(int, found.groups())
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError as error:
        raise malformed("a certificate has a time that does not exist") from error


def _common_name(subject: bytes) -> str:
    names = DerReader(subject).inside(der.SEQUENCE)
    found = []
    while names.more:
        pair = names.inside(der.SET).inside(der.SEQUENCE)
        if pair.content(der.OID) == _COMMON_NAME:
            found.append(pair.content(_UTF8).decode("ascii", "replace"))
    if len(found) != 1:
        raise malformed("a certificate has not one common name")
    return found[0]


def _extensions(reader: DerReader) -> Mapping[bytes, bytes]:
    rows = reader.inside(der.SEQUENCE)
    reader.end()
    found: dict[bytes, bytes] = {}
    while rows.more:
        row = rows.inside(der.SEQUENCE)
        oid = row.content(der.OID)
        critical = row.next_is(der.BOOLEAN) and row.content(der.BOOLEAN) != b"\0"
        if oid in found or (critical and oid not in (_KEY_USAGE, _BASIC_CONSTRAINTS)):
            raise malformed("a certificate has an extension twice, or one that must be understood")
        found[oid] = row.content(der.OCTET_STRING)
        row.end()
    return found


def _public_key(spki: bytes) -> PublicKeyTypes:
    try:
        return load_der_public_key(spki)
    # A Warning arrives here when the program turns warnings into errors.
    except (ValueError, TypeError, UnsupportedAlgorithm, Warning) as error:
        raise malformed("a certificate's public key is not readable") from error
