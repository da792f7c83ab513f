"""The node's event log in a file, kept in step with the TPM's PCR.

Needed for availability alone: a device replays the log against the quote, so a changed file makes
evidence that is refused. Events are written down before they are extended, so that whatever ends a
node between the two is made up for by the next one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from lanai.errors import CloudUnavailable, ConfigError, TrustError
from trust.attestation.tpm2.node_log import EVENT_BYTES, MAX_EVENTS, NODE_PCR, NodeEvent, replay
from trust.attestation.tpm2.reader import Reader
from trust.private_files import locked, read_private, replace_private

__all__ = ["EventFile", "ExtendsPcrs"]

_RESTART: Final = "restart the machine"


class ExtendsPcrs(Protocol):
    """What the file needs of a TPM."""

    def pcrs(self, indices: Iterable[int]) -> Mapping[int, bytes]:
        """Values of the SHA-256 bank."""

    def extend(self, pcr: int, digest: bytes) -> None:
        """Extend a PCR of that bank."""


class EventFile:
    """The log of this machine since it started, at ``path``; nodes of one machine share it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone with file and TPM. The kernel lets go of the lock when its holder dies."""
        with locked(self._path):
            yield

    def record(
        self, tpm: ExtendsPcrs, release: Sequence[NodeEvent], keys: NodeEvent
    ) -> tuple[NodeEvent, ...]:
        """Have the log begin with ``release`` and end with ``keys``; return all of it.

        Call it inside `locked`. Raises ``ConfigError`` when another release ran since boot, or
        another program extended the PCR; ``CloudUnavailable`` when the log is full.
        """
        # 1 what is in the file and, of that, not in the PCR yet
        events = self._caught_up(tpm)
        # 2 what is missing
        missing = _missing(events, release, keys)
        if len(events) + len(missing) > MAX_EVENTS:
            raise CloudUnavailable("the TPM's event log is full", hint=_RESTART)
        # 3 down first, then into the PCR
        if missing:
            events += missing
            replace_private(self._path, b"".join(event.serialize() for event in events))
            _extend(tpm, missing)
        return tuple(events)

    def _caught_up(self, tpm: ExtendsPcrs) -> list[NodeEvent]:
        """The events of this boot, each of them extended."""
        held = tpm.pcrs([NODE_PCR])[NODE_PCR]
        if held == bytes(len(held)):  # nothing was extended since the machine started
            return []
        events = self._read()
        for count in range(len(events), 0, -1):
            if replay(events[:count]) == held:
                _extend(tpm, events[count:])
                return events
        raise ConfigError(f"PCR {NODE_PCR} does not hold what the log says", hint=_RESTART)

    def _read(self) -> list[NodeEvent]:
        data = read_private(self._path, limit=MAX_EVENTS * EVENT_BYTES) or b""
        reader = Reader(data)
        try:
            events = [NodeEvent.read(reader) for _ in range(len(data) // EVENT_BYTES)]
            reader.end()
        except TrustError as error:
            raise ConfigError(f"{self._path} is no event log", hint=_RESTART) from error
        return events


def _extend(tpm: ExtendsPcrs, events: Iterable[NodeEvent]) -> None:
    for event in events:
        tpm.extend(NODE_PCR, event.extension)


def _missing(
    events: Sequence[NodeEvent], release: Sequence[NodeEvent], keys: NodeEvent
) -> list[NodeEvent]:
    if not events:
        return [*release, keys]
    if list(events[: len(release)]) != list(release):
        raise ConfigError("another release ran on this machine since it started", hint=_RESTART)
    return [] if events[-1] == keys else [keys]
