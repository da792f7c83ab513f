"""Reads the firmware's event log as Linux shows it, and reduces it to a `BootLog`.

The crypto-agile form of the TCG PC Client Platform Firmware Profile (section 10): one event in the
old form that names the digest algorithms, then events with one digest for each. Little-endian.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from lanai.errors import Rejection, TrustError
from trust.attestation.tpm2.boot_log import BOOT_PCRS, BootLog
from trust.strict import malformed

__all__ = ["MAX_LOG_BYTES", "TcgEvent", "read_boot_log", "read_tcg_log"]

MAX_LOG_BYTES: Final = 1 << 20
_SHA256: Final = 0x000B
_NO_ACTION: Final = 3
_SIGNATURE: Final = b"Spec ID Event03\x00"
_LOCALITY: Final = b"StartupLocality\x00"
_MAX_ALGORITHMS: Final = 8
_MAX_DIGEST: Final = 64
_MAX_EVENTS: Final = 4096
_SHA1_BYTES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TcgEvent:
    """One event; ``digest`` is of the SHA-256 bank."""

    pcr: int
    kind: int
    digest: bytes
    data: bytes = field(repr=False)


class _Little:
    """Little-endian fields, never past the end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise malformed("the event log ends early")
        found, self.at = self.data[self.at : end], end
        return found

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    @property
    def over(self) -> bool:
        """At the end, or in the zeros or ones that firmware fills the rest with."""
        if len(set(self.data[self.at : self.at + 16])) > 1:  # the usual case, without a copy
            return False
        rest = self.data[self.at :]
        return not rest.strip(b"\0") or not rest.strip(b"\xff")


def read_tcg_log(data: bytes) -> tuple[TcgEvent, ...]:
    """Every event behind the header. Raises ``TrustError`` (``malformed``, ``too_large``)."""
    if len(data) > MAX_LOG_BYTES:
        raise TrustError("the event log is too long", reason=Rejection.TOO_LARGE)
    read = _Little(data)
    sizes = _header(read)
    events: list[TcgEvent] = []
    while not read.over:
        if len(events) == _MAX_EVENTS:
            raise TrustError("the event log has too many events", reason=Rejection.TOO_LARGE)
        events.append(_event(read, sizes))
    return tuple(events)


def read_boot_log(data: bytes) -> BootLog:
    """The boot PCRs' part of a log, digests alone. Raises ``TrustError``."""
    events = read_tcg_log(data)
    measured = [event for event in events if event.kind != _NO_ACTION and event.pcr in BOOT_PCRS]
    measured.sort(key=lambda event: event.pcr)  # stable: the order within a PCR stays
    return BootLog(
        locality=next(_localities(events), 0),
        events=tuple((event.pcr, event.digest) for event in measured),
        secure_boot_variable=next(_first_texts(measured), b""),
    )


def _header(read: _Little) -> dict[int, int]:
    """Digest sizes by algorithm, from the first event (``TCG_EfiSpecIDEvent``)."""
    pcr, kind = read.number(4), read.number(4)
    read.take(_SHA1_BYTES)
    inner = _Little(read.take(read.number(4)))
    if pcr != 0 or kind != _NO_ACTION or inner.take(len(_SIGNATURE)) != _SIGNATURE:
        raise malformed("not a crypto-agile event log")
    inner.take(8)  # platform class, version, errata, size of UINTN
    count = inner.number(4)
    if not 0 < count <= _MAX_ALGORITHMS:
        raise malformed("the event log names no or too many algorithms")
    sizes = {inner.number(2): inner.number(2) for _ in range(count)}
    if sizes.get(_SHA256) != 32 or max(sizes.values()) > _MAX_DIGEST:
        raise malformed("the event log has no SHA-256 digests")
    return sizes


def _event(read: _Little, sizes: dict[int, int]) -> TcgEvent:
    """One ``TCG_PCR_EVENT2``."""
    pcr, kind, count = (read.number(4) for _ in range(3))
    if count > len(sizes):
        raise malformed("an event has too many digests")
    digests = {}
    for _ in range(count):
        algorithm = read.number(2)
        if algorithm not in sizes:
            raise malformed("an event has a digest of an algorithm the log does not name")
        digests[algorithm] = read.take(sizes[algorithm])
    data = read.take(read.number(4))
    if _SHA256 not in digests:
        raise malformed("an event has no SHA-256 digest")
    return TcgEvent(pcr=pcr, kind=kind, digest=digests[_SHA256], data=data)


def _localities(events: tuple[TcgEvent, ...]) -> Iterator[int]:
    """What ``TCG_EfiStartupLocalityEvent`` says."""
    for event in events:
        if event.kind == _NO_ACTION and event.data[:-1] == _LOCALITY:
            yield event.data[-1]


def _first_texts(measured: list[TcgEvent]) -> Iterator[bytes]:
    """The text of PCR 7's first event, where its digest covers it."""
    first = next((event for event in measured if event.pcr == 7), None)
    if first is not None and sha256(first.data).digest() == first.digest:
        yield first.data
