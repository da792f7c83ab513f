"""What a trust root says about TPM evidence: which authorities certify attestation keys."""

import re
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lanai.errors import TrustError
from trust.attestation.tpm2.chain import Link
from trust.attestation.tpm2.verifier import Tpm2Verifier
from trust.strict import Fields, malformed

__all__ = ["TPM2", "UNSAFE_SWTPM", "Tpm2Policy", "UnsafeSwtpmPolicy"]

TPM2: Final = "tpm2"
UNSAFE_SWTPM: Final = "unsafe_swtpm"
_MAX_ROOTS: Final = 16
_PEM: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]{1,8000}\n-----END CERTIFICATE-----\n"
)


@dataclass(frozen=True, slots=True)
class Tpm2Policy:
    """Quotes by attestation keys that chain to one of ``roots`` (PEM).

    A root is the operator's attestation CA, then the operator's word is what says that a key lives
    in a TPM; or a vendor's root for attestation keys, then it is the vendor's. Refuses a root of
    software TPMs (``malformed``): a policy for hardware cannot name one.
    """

    roots: tuple[str, ...]
    _links: tuple[Link, ...] = field(init=False, repr=False, compare=False)
    kind: ClassVar[str] = TPM2
    unsafe: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "_links", _read_roots(self.roots, unsafe_swtpm=False))

    def verifier(self) -> Tpm2Verifier:
        return Tpm2Verifier(self.kind, self._links, unsafe_swtpm=False)

    def to_json(self) -> dict[str, object]:
        return {"roots": list(self.roots)}

    @classmethod
    def from_json(cls, value: dict[str, object]) -> Self:
        """Raises ``TrustError`` (``malformed``)."""
        return cls(Fields.exactly(value, {"roots"}).texts("roots", _PEM, limit=_MAX_ROOTS))


@dataclass(frozen=True, slots=True)
class UnsafeSwtpmPolicy:
    """Quotes by software TPMs. Proves nothing about a machine: development only.

    Whoever runs a software TPM holds its keys. It takes the same path as a hardware TPM, so that
    development exercises the path. ``roots`` (PEM) have to carry the mark of such authorities.
    """

    roots: tuple[str, ...]
    _links: tuple[Link, ...] = field(init=False, repr=False, compare=False)
    kind: ClassVar[str] = UNSAFE_SWTPM
    unsafe: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "_links", _read_roots(self.roots, unsafe_swtpm=True))

    def verifier(self) -> Tpm2Verifier:
        return Tpm2Verifier(self.kind, self._links, unsafe_swtpm=True)

    def to_json(self) -> dict[str, object]:
        return {"roots": list(self.roots)}

    @classmethod
    def from_json(cls, value: dict[str, object]) -> Self:
        """Raises ``TrustError`` (``malformed``)."""
        return cls(Fields.exactly(value, {"roots"}).texts("roots", _PEM, limit=_MAX_ROOTS))


def _read_roots(roots: tuple[str, ...], *, unsafe_swtpm: bool) -> tuple[Link, ...]:
    if not 0 < len(roots) <= _MAX_ROOTS:
        raise malformed("a TPM policy names one or a few roots")
    links = tuple(map(_read_root, roots))
    if any(link.unsafe_swtpm != unsafe_swtpm for link in links):
        raise malformed("roots of software TPMs are for unsafe_swtpm, and no others are")
    return links


def _read_root(pem: str) -> Link:
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode("ascii"))
        link = Link.parse(certificate.public_bytes(Encoding.DER))
    except (ValueError, TypeError, x509.InvalidVersion, Warning, TrustError) as error:
        raise malformed("a root of a TPM policy does not parse") from error
    if not link.is_authority:
        raise malformed("a root of a TPM policy is no authority")
    return link
