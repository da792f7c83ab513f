"""Public keys of the cloud's parties, as leaves of the log: the same for everybody, or refused.

Trusts the trust root, and what `trust.logged` proves under it. Refuses a key that is not a public
leaf, that lives longer than the root allows, or whose window does not cover this moment. A party
that wanted to single somebody out by a key of their own would have to publish it.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field
from hashlib import sha256
from typing import Final, Literal, NoReturn

from lanai.errors import LogRejected, Rejection
from protos.lanai.v1alpha import bundle_pb2 as pb
from trust.bundle import HPKE_KEY_BYTES, Checkpoint, LogProof
from trust.logged import LogVerifier
from trust.root import TrustRoot
from trust.strict import Fields, canonical, malformed, read_canonical
from trust.tokens.public_key import load_spki
from trust.witnessed import MAX_CLOCK_SKEW_S

__all__ = [
    "MAX_KEY_RECORD_BYTES",
    "KeyPurpose",
    "KeyRecord",
    "KeyVerifier",
    "LoggedKey",
    "ProvedKey",
    "VerifiedKey",
]

KeyPurpose = Literal["issuer", "gateway"]

MAX_KEY_RECORD_BYTES: Final = 4096
SCHEMA: Final = "lanai.key/1"
_SCHEMA = re.compile(re.escape(SCHEMA))
_PURPOSE = re.compile("issuer|gateway")
_HEX = re.compile(r"(?:[0-9a-f]{2}){1,1536}")
# Later times do not survive every clock library; the year is 9999.
_MAX_TIME: Final = 253_402_300_799
_BUILT_BY_VERIFIER = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """What the key is for, the key itself and when it holds (unix seconds, the end excluded).

    ``key`` is the SPKI of RFC 9578 for the issuer, an X-Wing key (1216 bytes) for the gateway.
    Making one raises ``TrustError`` (``malformed``) when a value is out of bounds.
    """

    purpose: KeyPurpose
    key: bytes = field(repr=False)
    not_before: int
    expires_at: int

    def __post_init__(self) -> None:
        if not 0 < self.not_before < self.expires_at <= _MAX_TIME:
            raise malformed("the key's window is empty or out of range")
        if self.purpose == "issuer":
            load_spki(self.key)
        elif len(self.key) != HPKE_KEY_BYTES:
            raise malformed("a gateway's key has not 1216 bytes")

    @property
    def key_id(self) -> bytes:
        """SHA-256 of the key (32 bytes); of the issuer's, the ``token_key_id`` of RFC 9578."""
        return sha256(self.key).digest()

    @property
    def lifetime_s(self) -> int:
        """Length of the window."""
        return self.expires_at - self.not_before

    def canonical(self) -> bytes:
        """The log leaf."""
        return canonical(
            {
                "schema": SCHEMA,
                "purpose": self.purpose,
                "key": self.key.hex(),
                "not_before": self.not_before,
                "expires_at": self.expires_at,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "KeyRecord":
        """Read a log leaf. Raises ``TrustError`` (``malformed``, ``too_large``)."""
        names = {"schema", "purpose", "key", "not_before", "expires_at"}
        read = Fields.exactly(read_canonical(data, limit=MAX_KEY_RECORD_BYTES), names)
        read.text("schema", _SCHEMA)
        return cls(
            purpose="issuer" if read.text("purpose", _PURPOSE) == "issuer" else "gateway",
            key=bytes.fromhex(read.text("key", _HEX)),
            not_before=read.number("not_before", low=1, high=_MAX_TIME),
            expires_at=read.number("expires_at", low=1, high=_MAX_TIME),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedKey:
    """A key record with the log's proof of it. Unverified."""

    record: KeyRecord
    proof: LogProof

    @classmethod
    def from_proto(cls, message: pb.LoggedKey) -> "LoggedKey":
        """Raises ``TrustError`` when a field is missing or out of bounds."""
        return cls(record=KeyRecord.parse(message.record), proof=LogProof.from_proto(message.proof))

    def to_proto(self) -> pb.LoggedKey:
        return pb.LoggedKey(record=self.record.canonical(), proof=self.proof.to_proto())


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedKey:
    """A key that is public and in its window, perhaps in another history than the one seen.

    Good for one thing: asking through it for the consistency proof (sizes of public trees, and
    nothing of the user) that `KeyVerifier.verify` still needs. Only `KeyVerifier` builds one.
    """

    purpose: KeyPurpose
    key: bytes = field(repr=False)
    built_by: InitVar[object] = None

    def __post_init__(self, built_by: object) -> None:
        _require_verifier(built_by)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a ProvedKey is not copied or stored")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedKey:
    """A key that passed every step of `KeyVerifier.verify`. Nothing else can build one.

    ``checkpoint_note`` is the signed note that proved it. Times are unix seconds.
    """

    purpose: KeyPurpose
    key: bytes = field(repr=False)
    key_id: bytes
    not_before: int
    expires_at: int
    checkpoint: Checkpoint
    checkpoint_note: bytes = field(repr=False)
    built_by: InitVar[object] = None

    def __post_init__(self, built_by: object) -> None:
        _require_verifier(built_by)

    def __reduce__(self) -> NoReturn:
        # Pickling and copying would make one without the verifier.
        raise TypeError("a VerifiedKey is not copied or stored: verify the record again")


class KeyVerifier:
    """Judges logged keys by a trust root; ``clock`` gives unix seconds.

    Raises ``TrustRootRejected`` for a root that no profile may use.
    """

    def __init__(self, root: TrustRoot, *, clock: Callable[[], float] = time.time) -> None:
        root.admit(None)
        self._root = root
        self._clock = clock
        self._log = LogVerifier(root)

    def consistency_needed(
        self, logged: LoggedKey, seen: Checkpoint | None
    ) -> tuple[int, int] | None:
        """Sizes (old, new) to fetch a consistency proof for, before `verify`; None when none is.

        Raises ``LogRejected`` when the checkpoint's signatures do not stand.
        """
        return self._log.consistency_needed(logged.proof, seen)

    def prove(self, logged: LoggedKey, *, purpose: KeyPurpose) -> ProvedKey:
        """All steps of `verify` but the last. Raises ``LogRejected``."""
        now = self._clock()
        self._check_record(logged.record, purpose, now)
        self._log.prove(logged.record.canonical(), logged.proof, now=now)
        return ProvedKey(purpose=purpose, key=logged.record.key, built_by=_BUILT_BY_VERIFIER)

    def verify(
        self,
        logged: LoggedKey,
        *,
        purpose: KeyPurpose,
        seen: Checkpoint | None = None,
        consistency: Sequence[bytes] = (),
    ) -> VerifiedKey:
        """Verify all of ``logged``, or raise ``LogRejected``.

        1. It is for this purpose.
        2. Its window is no longer than the root allows, and covers now.
        3. The record is a leaf under a checkpoint that a quorum of witnesses cosigned recently, and
           that is of one history with the last one seen (`trust.logged.LogVerifier.verify`).

        The caller must still: store the checkpoint when it is newer than ``seen``; stop using the
        key at ``expires_at``.
        """
        now, record = self._clock(), logged.record
        self._check_record(record, purpose, now)  # 1, 2
        signed = self._log.verify(  # 3
            record.canonical(), logged.proof, now=now, seen=seen, consistency=consistency
        )
        return VerifiedKey(
            purpose=purpose,
            key=record.key,
            key_id=record.key_id,
            not_before=record.not_before,
            expires_at=record.expires_at,
            checkpoint=signed.checkpoint,
            checkpoint_note=logged.proof.checkpoint,
            built_by=_BUILT_BY_VERIFIER,
        )

    def _check_record(self, record: KeyRecord, purpose: KeyPurpose, now: float) -> None:
        if record.purpose != purpose:
            raise _refused(f"no key of the {purpose}", Rejection.KIND_NOT_ACCEPTED)
        if record.lifetime_s > self._root.key_max_lifetime_s:
            raise _refused(f"the {purpose}'s key lives longer than allowed", Rejection.LIFETIME)
        if now + MAX_CLOCK_SKEW_S < record.not_before:
            raise _refused(f"the {purpose}'s key is not valid yet", Rejection.NOT_YET_VALID)
        if now >= record.expires_at:
            raise _refused(f"the {purpose}'s key has expired", Rejection.EXPIRED)


def _require_verifier(built_by: object) -> None:
    if built_by is not _BUILT_BY_VERIFIER:
        raise TypeError("a key is verified by KeyVerifier only")


def _refused(message: str, reason: Rejection) -> LogRejected:
    return LogRejected(message, reason=reason, hint="the key is not used; ask its operator")
