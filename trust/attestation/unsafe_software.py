"""Evidence kind ``unsafe_software``: a node's own word, signed by a key of the trust root.

It shows that the node holds a key its operator listed, and nothing about what the machine runs. It
takes the same path as hardware evidence, so development exercises the whole verification.

Payload: Ed25519 public key (32) || signature (64) || statement, canonical JSON. The signature is
over a fixed label and the statement; the statement repeats the report data.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lanai.errors import EvidenceRejected, Rejection, TrustError
from trust.attestation.evidence import Claims, Evidence
from trust.attestation.release import DIGEST, Release
from trust.strict import Fields, canonical, read_canonical

__all__ = [
    "UNSAFE_SOFTWARE",
    "UnsafeSoftwareAttester",
    "UnsafeSoftwarePolicy",
    "UnsafeSoftwareVerifier",
]

UNSAFE_SOFTWARE = "unsafe_software"
SCHEMA = "lanai.unsafe-software/1"
_LABEL = b"lanai unsafe software v1\x00"
_SCHEMA = re.compile(re.escape(SCHEMA))
_KEY_BYTES = 32
_SIGNED_FROM = _KEY_BYTES + 64
_MAX_STATEMENT = 1024
_ED25519 = re.compile(r"[0-9a-f]{64}")
_MAX_KEYS = 64
_NAMES = ("schema", "report_data", "software", "weights", "configuration")


class UnsafeSoftwareAttester:
    """Signs what it was told it runs. Proves nothing about the machine: development only."""

    kind = UNSAFE_SOFTWARE

    def __init__(self, key: Ed25519PrivateKey, release: Release) -> None:
        self._key = key
        self._release = release

    def attest(self, report_data: bytes) -> Evidence:
        """Evidence for the release, bound to ``report_data`` (32 bytes)."""
        statement = canonical(
            {
                "schema": SCHEMA,
                "report_data": report_data.hex(),
                "software": self._release.software,
                "weights": self._release.weights,
                "configuration": self._release.configuration,
            }
        )
        public_key = self._key.public_key().public_bytes_raw()
        signature = self._key.sign(_LABEL + statement)
        return Evidence(kind=self.kind, payload=public_key + signature + statement)


class UnsafeSoftwareVerifier:
    """Accepts statements signed by one of ``keys`` (hex Ed25519). Development only."""

    kind = UNSAFE_SOFTWARE

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = frozenset(keys)

    def verify(self, evidence: Evidence, *, report_data: bytes, now: float) -> Claims:
        """Raises ``EvidenceRejected``.

        ``kind_not_accepted``, ``unknown_key``, ``signature``, ``malformed``, ``key_binding``.
        ``now`` is unused: the statement carries no time, the bundle's window does.
        """
        if evidence.kind != self.kind:
            raise _rejected("evidence of another kind", Rejection.KIND_NOT_ACCEPTED)
        public_key = evidence.payload[:_KEY_BYTES]
        signature = evidence.payload[_KEY_BYTES:_SIGNED_FROM]
        statement = evidence.payload[_SIGNED_FROM:]
        # 1 somebody the trust root names
        if public_key.hex() not in self._keys:
            raise _rejected("signed by a key the trust root does not list", Rejection.UNKNOWN_KEY)
        # 2 signed exactly this
        _check_signature(public_key, signature, statement)
        # 3 for exactly these keys
        claims, bound = _read_statement(statement)
        if bound != report_data.hex():
            raise _rejected("the evidence is for other keys", Rejection.KEY_BINDING)
        return claims


@dataclass(frozen=True, slots=True)
class UnsafeSoftwarePolicy:
    """Statements by one of ``keys`` (hex Ed25519). Development only."""

    keys: tuple[str, ...]
    kind: ClassVar[str] = UNSAFE_SOFTWARE
    unsafe: ClassVar[bool] = True

    def verifier(self) -> UnsafeSoftwareVerifier:
        return UnsafeSoftwareVerifier(self.keys)

    def to_json(self) -> dict[str, object]:
        return {"keys": list(self.keys)}

    @classmethod
    def from_json(cls, value: dict[str, object]) -> Self:
        """Raises ``TrustError`` (``malformed``)."""
        return cls(Fields.exactly(value, {"keys"}).texts("keys", _ED25519, limit=_MAX_KEYS))


def _check_signature(public_key: bytes, signature: bytes, statement: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, _LABEL + statement)
    except (InvalidSignature, ValueError) as error:
        raise _rejected("the signature does not verify", Rejection.SIGNATURE) from error


def _read_statement(statement: bytes) -> tuple[Claims, str]:
    """What is claimed, and the report data (hex) it is claimed for."""
    try:
        read = Fields.exactly(read_canonical(statement, limit=_MAX_STATEMENT), _NAMES)
        read.text("schema", _SCHEMA)
        measured = {name: read.text(name, DIGEST) for name in _NAMES[2:]}
        return Claims(kind=UNSAFE_SOFTWARE, measurements=measured), read.text("report_data", DIGEST)
    except TrustError as error:
        raise _rejected(f"the statement is refused: {error.message}", error.reason) from error


def _rejected(message: str, reason: Rejection) -> EvidenceRejected:
    return EvidenceRejected(f"{UNSAFE_SOFTWARE} evidence: {message}", reason=reason)
