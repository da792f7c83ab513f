"""The trust root: everything a device takes as given, in one strict JSON file.

Whoever writes this file decides whom the device believes, so it arrives by enrolment and never from
the network that it judges. `admit` says whether a device of some profile may use it at all.
"""

import ipaddress
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from typing import Literal

from cryptography import x509

from lanai.errors import Rejection, TrustError, TrustRootRejected
from trust.attestation.policy import EvidencePolicy, policy_from_json
from trust.log.notes import NoteKind, VerifierKey, parse_vkey
from trust.strict import Fields, canonical, malformed, read_object

__all__ = ["MAX_ROOT_CHARACTERS", "Endpoint", "Profile", "TrustRoot"]

Profile = Literal["development", "production"]

MAX_ROOT_CHARACTERS = 256 * 1024
SCHEMA = "lanai.trust-root/2"
_SCHEMA = re.compile(re.escape(SCHEMA))
_PROFILE = re.compile("development|production")
_ADDRESS = re.compile(r"(\[[0-9a-f:]{2,39}\]|[A-Za-z0-9][A-Za-z0-9.-]{0,252}):([1-9][0-9]{0,4})")
_PEM = re.compile(
    r"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]{1,16000}\n-----END CERTIFICATE-----\n"
)
_HEX = re.compile(r"(?:[0-9a-f]{2}){1,4096}")
_LINE = re.compile(r"[\x20-\x7e]{1,255}")
_MAX_LIST = 64
_MAX_SECONDS = 366 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a party listens (``host:port``) and the one certificate it must show (PEM)."""

    address: str
    certificate: str

    def __post_init__(self) -> None:
        match = _ADDRESS.fullmatch(self.address)
        if match is None or int(match[2]) > 65535:
            raise malformed("an address is host:port")
        _check_pem(self.certificate)

    @property
    def host(self) -> str:
        """The address without port and brackets."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def is_loopback(self) -> bool:
        """Whether the host is a loopback address; a name is none, since it may resolve anywhere."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRoot:
    """Whom the device believes and how fresh, short-lived and widely witnessed things must be.

    ``token_challenge`` is hex, ``log_key`` and ``witnesses`` are note verifier keys, ``evidence``
    says what a node has to present; lifetimes are seconds, of node keys and of the issuer's and
    gateway's keys, which are in the log. Making one raises ``TrustRootRejected`` (``malformed``)
    when a value is out of bounds.
    """

    profile: Profile
    relay: Endpoint
    issuer: Endpoint
    token_challenge: str
    log_origin: str
    log_key: str
    witnesses: tuple[str, ...]
    quorum: int
    checkpoint_max_age_s: int
    node_max_lifetime_s: int
    key_max_lifetime_s: int
    evidence: EvidencePolicy

    def __post_init__(self) -> None:
        # Values made in code pass the same reading as values from a file.
        with _rejecting():
            _read(self._values())
        keys = (self.log_verifier, *self.witness_verifiers)
        if self.log_verifier.kind is not NoteKind.ED25519:
            raise _rejected("the log's key is not of kind Ed25519")
        if any(key.kind is not NoteKind.COSIGNATURE for key in keys[1:]):
            raise _rejected("a witness key is not of kind cosignature/v1")
        # One key under two names would count twice towards the quorum.
        if not _distinct(key.name for key in keys) or not _distinct(k.public_key for k in keys):
            raise _rejected("log and witnesses share a name or a key")
        if not 1 <= self.quorum <= len(self.witnesses):
            raise _rejected("the quorum is not between one and the number of witnesses")

    @property
    def log_verifier(self) -> VerifierKey:
        return _vkey(self.log_key)

    @property
    def witness_verifiers(self) -> tuple[VerifierKey, ...]:
        return tuple(map(_vkey, self.witnesses))

    @property
    def policy_digest(self) -> bytes:
        """SHA-256 (32 bytes) of the canonical form of all of it."""
        return sha256(canonical(self._values())).digest()

    def admit(self, profile: Profile | None) -> None:
        """Refuse a root that this device must not use. ``None`` takes either profile.

        Raises ``TrustRootRejected``: ``profile``, ``kind_not_accepted``, ``not_loopback``.
        """
        # 1 the profile the user pinned
        if profile is not None and profile != self.profile:
            raise TrustRootRejected(
                f"this trust root is for {self.profile}, the settings demand {profile}",
                reason=Rejection.PROFILE,
                hint="enrol with a cluster of the profile in your settings",
            )
        # 2 nothing unsafe outside development
        if self.profile != "development" and self.evidence.unsafe:
            raise TrustRootRejected(
                "the trust root accepts unsafe evidence outside development",
                reason=Rejection.KIND_NOT_ACCEPTED,
                hint="accept hardware evidence only",
            )
        # 3 development never leaves this machine
        endpoints = (self.relay, self.issuer)
        if self.profile == "development" and not all(item.is_loopback for item in endpoints):
            raise TrustRootRejected(
                "a development trust root names an address that is not loopback",
                reason=Rejection.NOT_LOOPBACK,
                hint="development clusters run on this machine only",
            )

    def to_json(self) -> str:
        """The file form, indented for people."""
        return json.dumps(self._values(), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "TrustRoot":
        """Read the file form. Raises ``TrustRootRejected`` (``malformed``, ``too_large``)."""
        with _rejecting():
            values = _read(read_object(text, limit=MAX_ROOT_CHARACTERS))
        return cls(**values)  # type: ignore[arg-type]  # `_read` gives each field its type

    def _values(self) -> dict[str, object]:
        own = {item.name: getattr(self, item.name) for item in fields(self)}
        own |= {"relay": asdict(self.relay), "issuer": asdict(self.issuer)}
        own["evidence"] = self.evidence.to_json()
        # Through JSON, so that tuples become the lists a file has.
        values: dict[str, object] = json.loads(json.dumps({"schema": SCHEMA, **own}))
        return values


def _read(value: dict[str, object]) -> dict[str, object]:
    """Arguments of `TrustRoot` from its JSON object."""
    read = Fields.exactly(value, {"schema", *(field.name for field in fields(TrustRoot))})
    read.text("schema", _SCHEMA)
    return {
        "profile": read.text("profile", _PROFILE),
        "relay": _endpoint(read, "relay"),
        "issuer": _endpoint(read, "issuer"),
        "token_challenge": read.text("token_challenge", _HEX),
        "log_origin": read.text("log_origin", _LINE),
        "log_key": read.text("log_key", _LINE),
        "witnesses": read.texts("witnesses", _LINE, limit=_MAX_LIST),
        "quorum": read.number("quorum", low=1, high=_MAX_LIST),
        "checkpoint_max_age_s": read.number("checkpoint_max_age_s", low=1, high=_MAX_SECONDS),
        "node_max_lifetime_s": read.number("node_max_lifetime_s", low=1, high=_MAX_SECONDS),
        "key_max_lifetime_s": read.number("key_max_lifetime_s", low=1, high=_MAX_SECONDS),
        "evidence": policy_from_json(read.values["evidence"]),
    }


def _endpoint(read: Fields, name: str) -> Endpoint:
    inner = Fields.exactly(read.values[name], {"address", "certificate"})
    return Endpoint(
        address=inner.text("address", _ADDRESS), certificate=inner.text("certificate", _PEM)
    )


def _check_pem(certificate: str) -> None:
    if _PEM.fullmatch(certificate) is None:
        raise malformed("a pinned certificate is one PEM block")
    try:
        x509.load_pem_x509_certificate(certificate.encode("ascii"))
    except (ValueError, TypeError, x509.InvalidVersion, Warning) as error:
        raise malformed("a pinned certificate does not parse") from error


def _vkey(vkey: str) -> VerifierKey:
    with _rejecting():
        return parse_vkey(vkey)


@contextmanager
def _rejecting() -> Iterator[None]:
    """Say of any other trust error that it is the root's."""
    try:
        yield
    except TrustError as error:
        raise TrustRootRejected(
            f"trust root: {error.message}", reason=error.reason, hint="enrol again"
        ) from error


def _distinct(values: Iterable[object]) -> bool:
    found = list(values)
    return len(set(found)) == len(found)


def _rejected(message: str) -> TrustRootRejected:
    return TrustRootRejected(f"trust root: {message}", reason=Rejection.MALFORMED)
