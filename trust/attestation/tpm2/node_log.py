"""The node's own event log: what Lanai extends into a PCR of its own, and how it is judged.

    software, weights, configuration, keys, keys, …

The first node to start after the machine's boot extends its three digests; from then on each new
pair of keys of a node on this machine appends one event. ``keys`` is the report data of a bundle: a
hash over node key, TLS key and validity window. A PCR cannot be taken back, so the log grows until
the machine restarts; a quote speaks for the last keys in it. A node of another release on the same
machine would break the order, so an update of the software needs a restart too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import Final

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.tpm2.reader import Reader
from trust.strict import malformed

__all__ = ["EVENT_BYTES", "MAX_EVENTS", "NODE_PCR", "EventKind", "NodeEvent", "judge", "replay"]

NODE_PCR: Final = 15
"""Not resettable without a restart, unlike 16 and 23, and outside what firmware (0-7), boot loaders
(4, 8, 9, 14), IMA (10) and unified kernel images (11-13) extend. systemd can extend it, where an
image asks for that; then the log does not replay, and the node is refused."""
MAX_EVENTS: Final = 512
"""Half a year of two rotations a day. A node past it cannot attest until its machine restarts."""
EVENT_BYTES: Final = 33
_LABEL: Final = b"lanai tpm2 event v1\x00"


class EventKind(IntEnum):
    """What a digest is of."""

    SOFTWARE = 1
    WEIGHTS = 2
    CONFIGURATION = 3
    KEYS = 4


_KINDS: Final = frozenset(EventKind)
_RELEASE: Final = (EventKind.SOFTWARE, EventKind.WEIGHTS, EventKind.CONFIGURATION)


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """One event: its kind and 32 bytes."""

    kind: EventKind
    digest: bytes

    def __post_init__(self) -> None:
        if len(self.digest) != 32:
            raise malformed("an event has 32 bytes")

    @property
    def extension(self) -> bytes:
        """What the PCR is extended with: kind and digest under a label of our own."""
        return sha256(_LABEL + self.serialize()).digest()

    def serialize(self) -> bytes:
        """Kind (1 byte), digest (32 bytes)."""
        return bytes([self.kind]) + self.digest

    @classmethod
    def read(cls, reader: Reader) -> "NodeEvent":
        """Raises ``TrustError`` (``malformed``)."""
        kind, digest = reader.number(1), reader.take(32)
        if kind not in _KINDS:
            raise malformed("an event of an unknown kind")
        return cls(EventKind(kind), digest)

    @classmethod
    def release(
        cls, *, software: str, weights: str, configuration: str
    ) -> tuple["NodeEvent", "NodeEvent", "NodeEvent"]:
        """The events that name a release; digests are hex."""
        digests = (software, weights, configuration)
        first, second, third = (
            cls(kind, bytes.fromhex(digest)) for kind, digest in zip(_RELEASE, digests, strict=True)
        )
        return first, second, third


def replay(events: Iterable[NodeEvent]) -> bytes:
    """The PCR's value after ``events``, from zero (32 bytes)."""
    value = bytes(32)
    for event in events:
        value = sha256(value + event.extension).digest()
    return value


def judge(events: Sequence[NodeEvent], report_data: bytes) -> dict[str, str]:
    """The digests (hex) that a log claims, whose last keys are ``report_data``.

    1. It begins with software, weights, configuration, each once.
    2. Nothing but keys follows, at least one pair.
    3. The last keys are the ones asked about.

    Raises ``EvidenceRejected``: ``event_log`` (1, 2), ``rollback`` (3).
    """
    release, keys = events[:3], events[3:]
    if tuple(event.kind for event in release) != _RELEASE:  # 1
        raise _rejected("it does not begin with a release", Rejection.EVENT_LOG)
    if not keys or any(event.kind is not EventKind.KEYS for event in keys):  # 2
        raise _rejected("something else than keys follows the release", Rejection.EVENT_LOG)
    if keys[-1].digest != report_data:  # 3
        raise _rejected("the last keys in it are others", Rejection.ROLLBACK)
    return {event.kind.name.lower(): event.digest.hex() for event in release}


def _rejected(message: str, reason: Rejection) -> EvidenceRejected:
    return EvidenceRejected(f"the node's event log: {message}", reason=reason)
