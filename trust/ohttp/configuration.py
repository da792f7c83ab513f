"""A gateway's key configuration and the header of a request to it (RFC 9458, sections 3 and 4)."""

from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from lanai.errors import EnvelopeRejected, Rejection
from trust.hpke import (
    AES_128_GCM,
    AES_256_GCM,
    CHACHA20_POLY1305,
    HKDF_SHA256,
    P256,
    X25519,
    X_WING,
    Aead,
    Hkdf,
    Kem,
    Suite,
)

__all__ = ["HEADER_BYTES", "KeyConfiguration", "Symmetric", "suite_of"]

HEADER_BYTES: Final = 7
_KEMS: Final = {kem.kem_id: kem for kem in (X_WING, X25519, P256)}
_KDFS: Final = {HKDF_SHA256.kdf_id: HKDF_SHA256}
_AEADS: Final = {aead.aead_id: aead for aead in (AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305)}
_PREFIX_BYTES: Final = 3


class Symmetric(NamedTuple):
    """Numbers of a KDF and an AEAD."""

    kdf_id: int
    aead_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyConfiguration:
    """One public key, and what may be used with it, best first. Nothing is verified."""

    key_id: int  # 0…255
    kem_id: int
    public_key: bytes
    symmetric: tuple[Symmetric, ...]

    @property
    def suite(self) -> Suite:
        """The first combination known here. Raises ``EnvelopeRejected`` (``VERSION``)."""
        for choice in self.symmetric:
            if choice.kdf_id in _KDFS and choice.aead_id in _AEADS:
                return suite_of(self.kem_id, *choice)
        raise _unknown()

    def to_bytes(self) -> bytes:
        """``Key Config``, without the length that goes before it in a list."""
        pairs = b"".join(_uint16(number) for pair in self.symmetric for number in pair)
        start = bytes([self.key_id]) + _uint16(self.kem_id)
        return start + self.public_key + _uint16(len(pairs)) + pairs

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """All of ``data``, or ``EnvelopeRejected`` (``MALFORMED``, ``VERSION``)."""
        kem = _KEMS.get(int.from_bytes(data[1:_PREFIX_BYTES], "big"))
        if kem is None:
            raise _unknown()
        end = _PREFIX_BYTES + kem.public_key_bytes
        size, pairs = int.from_bytes(data[end : end + 2], "big"), data[end + 2 :]
        if len(pairs) != size or not size or size % 4:
            raise EnvelopeRejected("not a key configuration", reason=Rejection.MALFORMED)
        numbers = [int.from_bytes(pairs[at : at + 2], "big") for at in range(0, size, 2)]
        return cls(
            key_id=data[0],
            kem_id=kem.kem_id,
            public_key=data[_PREFIX_BYTES:end],
            symmetric=tuple(map(Symmetric, numbers[::2], numbers[1::2])),
        )


def header(key_id: int, suite: Suite) -> bytes:
    """The seven bytes before the encapsulated key."""
    numbers = (suite.kem.kem_id, suite.kdf.kdf_id, suite.aead.aead_id)
    return bytes([key_id]) + b"".join(map(_uint16, numbers))


def parse_header(data: bytes) -> tuple[int, Suite]:
    """Key id and suite that a request names. Raises ``EnvelopeRejected``."""
    if len(data) < HEADER_BYTES:
        raise EnvelopeRejected("a request without its header", reason=Rejection.MALFORMED)
    numbers = [int.from_bytes(data[at : at + 2], "big") for at in range(1, HEADER_BYTES, 2)]
    return data[0], suite_of(*numbers)


def suite_of(kem_id: int, kdf_id: int, aead_id: int) -> Suite:
    """The suite of these numbers. Raises ``EnvelopeRejected`` (``VERSION``)."""
    kem: Kem | None = _KEMS.get(kem_id)
    kdf: Hkdf | None = _KDFS.get(kdf_id)
    aead: Aead | None = _AEADS.get(aead_id)
    if kem is None or kdf is None or aead is None:
        raise _unknown()
    return Suite(kem=kem, kdf=kdf, aead=aead)


def _uint16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _unknown() -> EnvelopeRejected:
    return EnvelopeRejected(
        "algorithms that are not known here",
        reason=Rejection.VERSION,
        hint="bring device and cluster to the same release",
    )
