"""The TPM 2.0 structures evidence is made of (TCG TPM 2.0 Library, part 2), read strictly.

Only what Lanai judges is accepted: SHA-256 quotes, ECDSA and RSA signatures over SHA-256, keys on
P-256 and P-384 or RSA. What parses has one encoding.
"""

from dataclasses import dataclass, field
from enum import IntFlag
from hashlib import sha256, sha384
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.tpm2.reader import Reader
from trust.strict import malformed

__all__ = ["Attributes", "PublicArea", "PublicKey", "Quote", "Signature"]

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

# TPM_ALG_ID and TPM_ECC_CURVE, part 2 sections 6.3 and 6.4
RSA: Final = 0x0001
AES: Final = 0x0006
SHA256: Final = 0x000B
SHA384: Final = 0x000C
NULL: Final = 0x0010
RSASSA: Final = 0x0014
RSAPSS: Final = 0x0016
ECDSA: Final = 0x0018
ECC: Final = 0x0023
CFB: Final = 0x0043
_CURVES: Final[dict[int, ec.EllipticCurve]] = {3: ec.SECP256R1(), 4: ec.SECP384R1()}
_DIGEST_BYTES: Final = {SHA256: 32, SHA384: 48, 0x000D: 64}

_GENERATED: Final = 0xFF544347  # TPM_GENERATED_VALUE: "\xffTCG"
_ATTEST_QUOTE: Final = 0x8018
_MAX_RSA_BYTES: Final = 512
_SELECT_BYTES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A ``TPMS_ATTEST`` of type quote. ``selected`` are PCRs of the SHA-256 bank, ascending."""

    signer: bytes
    extra_data: bytes
    clock_ms: int
    resets: int
    restarts: int
    safe: bool
    firmware_version: int
    selected: tuple[int, ...]
    pcr_digest: bytes

    @classmethod
    def parse(cls, data: bytes) -> "Quote":
        """Raises ``TrustError`` (``malformed``, ``too_large``)."""
        read = Reader(data)
        if read.number(4) != _GENERATED or read.number(2) != _ATTEST_QUOTE:
            raise malformed("not a quote that a TPM made")
        signer = read.sized(66)
        extra_data = read.sized(64)
        clock, resets, restarts, safe = (read.number(size) for size in (8, 4, 4, 1))
        firmware = read.number(8)
        selected = _selection(read)
        pcr_digest = read.sized(32)
        read.end()
        if safe > 1 or len(signer) < 2 or len(pcr_digest) != 32:
            raise malformed("a quote's field is out of range")
        if len(signer) != 2 + _DIGEST_BYTES.get(int.from_bytes(signer[:2], "big"), -1):
            raise malformed("a quote's signer is no name")
        return cls(
            signer=signer,
            extra_data=extra_data,
            clock_ms=clock,
            resets=resets,
            restarts=restarts,
            safe=bool(safe),
            firmware_version=firmware,
            selected=selected,
            pcr_digest=pcr_digest,
        )


def _selection(read: Reader) -> tuple[int, ...]:
    """``TPML_PCR_SELECTION`` with the SHA-256 bank alone."""
    if read.number(4) != 1 or read.number(2) != SHA256 or read.number(1) != _SELECT_BYTES:
        raise malformed("a quote is over PCRs of the SHA-256 bank alone")
    bits = int.from_bytes(read.take(_SELECT_BYTES), "little")
    return tuple(index for index in range(8 * _SELECT_BYTES) if bits >> index & 1)


@dataclass(frozen=True, slots=True)
class Signature:
    """A ``TPMT_SIGNATURE``: ECDSA P-256 (r and s, 32 bytes each), RSASSA or RSAPSS; SHA-256."""

    scheme: int
    value: bytes = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> "Signature":
        """Raises ``TrustError`` (``malformed``, ``too_large``)."""
        read = Reader(data)
        scheme = read.number(2)
        if scheme not in (ECDSA, RSASSA, RSAPSS) or read.number(2) != SHA256:
            raise malformed("a signature of a scheme that is not accepted")
        if scheme == ECDSA:
            value = b"".join(_whole(read.sized(32), 32) for _ in "rs")
        else:
            value = read.sized(_MAX_RSA_BYTES)
        read.end()
        return cls(scheme, value)

    def verify(self, key: PublicKey, message: bytes) -> None:
        """Raises ``EvidenceRejected`` (``signature``), also when the key is of another kind."""
        try:
            if self.scheme == ECDSA and isinstance(key, ec.EllipticCurvePublicKey):
                r, s = (int.from_bytes(half, "big") for half in (self.value[:32], self.value[32:]))
                key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
                return
            if self.scheme != ECDSA and isinstance(key, rsa.RSAPublicKey):
                key.verify(self.value, message, self._padding(), hashes.SHA256())
                return
        except (InvalidSignature, ValueError, UnsupportedAlgorithm):
            pass
        raise EvidenceRejected(
            "the attestation key did not sign this quote", reason=Rejection.SIGNATURE
        )

    def _padding(self) -> padding.AsymmetricPadding:
        if self.scheme == RSASSA:
            return padding.PKCS1v15()
        # TPMs salt with as much as fits, or with a digest's length when FIPS 186 is asked for.
        return padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)


class Attributes(IntFlag):
    """``TPMA_OBJECT``, part 2 section 8.3: the bits that are judged."""

    FIXED_TPM = 1 << 1
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    ADMIN_WITH_POLICY = 1 << 7
    ENCRYPTED_DUPLICATION = 1 << 11
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicArea:
    """A ``TPMT_PUBLIC`` of an asymmetric key.

    ``name`` is the TPM's name of the key; ``symmetric_bits`` is 0 without a symmetric algorithm,
    ``scheme`` 0 without a signing scheme.
    """

    key: PublicKey
    name_algorithm: int
    attributes: Attributes
    symmetric_bits: int
    scheme: int
    name: bytes

    @classmethod
    def parse(cls, data: bytes) -> "PublicArea":
        """Raises ``TrustError`` (``malformed``, ``too_large``)."""
        read = Reader(data)
        kind, name_algorithm = read.number(2), read.number(2)
        if kind not in (RSA, ECC) or name_algorithm not in (SHA256, SHA384):
            raise malformed("a key of a kind that is not accepted")
        attributes = Attributes(read.number(4))
        read.sized(64)  # the policy is part of the name, and not judged
        symmetric_bits = _symmetric(read)
        scheme = _scheme(read)
        key = _rsa(read) if kind == RSA else _ecc(read)
        read.end()
        hashed = sha256(data) if name_algorithm == SHA256 else sha384(data)
        return cls(
            key=key,
            name_algorithm=name_algorithm,
            attributes=attributes,
            symmetric_bits=symmetric_bits,
            scheme=scheme,
            name=name_algorithm.to_bytes(2, "big") + hashed.digest(),
        )


def _symmetric(read: Reader) -> int:
    algorithm = read.number(2)
    if algorithm == NULL:
        return 0
    bits, mode = read.number(2), read.number(2)
    if algorithm != AES or mode != CFB or bits not in (128, 256):
        raise malformed("a storage key protects with AES in CFB mode")
    return bits


def _scheme(read: Reader) -> int:
    scheme = read.number(2)
    if scheme == NULL:
        return 0
    if scheme not in (ECDSA, RSASSA, RSAPSS) or read.number(2) != SHA256:
        raise malformed("a signing scheme that is not accepted")
    return scheme


def _rsa(read: Reader) -> rsa.RSAPublicKey:
    bits, exponent = read.number(2), read.number(4) or 65537
    modulus = read.sized(_MAX_RSA_BYTES)
    if bits not in (2048, 3072, 4096) or len(modulus) != bits // 8 or modulus[0] < 0x80:
        raise malformed("an RSA key of an odd size")
    try:
        return rsa.RSAPublicNumbers(exponent, int.from_bytes(modulus, "big")).public_key()
    except ValueError:
        raise malformed("no RSA key") from None


def _ecc(read: Reader) -> ec.EllipticCurvePublicKey:
    curve = _CURVES.get(read.number(2))
    if curve is None or read.number(2) != NULL:
        raise malformed("a key on a curve that is not accepted")
    size = (curve.key_size + 7) // 8
    x, y = (int.from_bytes(_whole(read.sized(size), size), "big") for _ in "xy")
    try:
        return ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
    except ValueError:
        raise malformed("a point that is not on its curve") from None


def _whole(value: bytes, size: int) -> bytes:
    """Numbers are padded to their full size, so that each has one form."""
    if len(value) != size:
        raise malformed(f"a number has not {size} bytes")
    return value
