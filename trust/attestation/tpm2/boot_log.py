"""The machine's boot events, reduced to what a PCR covers: index and SHA-256 digest.

A firmware log's event types and most of its texts are covered by nothing, so they are not carried.
The one text that is carried hashes to its event's digest: the SecureBoot variable, which is the
first event of PCR 7 (TCG PC Client Platform Firmware Profile, section 3.3.4.8).
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from uuid import UUID

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.tpm2.reader import Reader, sized
from trust.strict import malformed

__all__ = ["BOOT_PCRS", "MAX_BOOT_EVENTS", "BootLog"]

BOOT_PCRS: Final = tuple(range(8))
MAX_BOOT_EVENTS: Final = 512
MAX_VARIABLE_BYTES: Final = 256
_LOCALITIES: Final = (0, 3, 4)
_SECURE_BOOT_PCR: Final = 7
_EFI_GLOBAL: Final = UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c").bytes_le
_SECURE_BOOT: Final = "SecureBoot"


@dataclass(frozen=True, slots=True, kw_only=True)
class BootLog:
    """Events as (PCR, digest), ascending by PCR, in their order within it.

    ``locality`` is where the start-up command came from; it is PCR 0's first value.
    ``secure_boot_variable`` is that event's text (``UEFI_VARIABLE_DATA``), or empty.
    """

    locality: int
    events: tuple[tuple[int, bytes], ...]
    secure_boot_variable: bytes = b""

    def __post_init__(self) -> None:
        indices = [index for index, _ in self.events]
        if indices != sorted(indices) or not set(indices) <= set(BOOT_PCRS):
            raise malformed("boot events are of PCRs 0 to 7, in order")
        if self.locality not in _LOCALITIES or not 0 < len(self.events) <= MAX_BOOT_EVENTS:
            raise malformed("a boot log of no or too many events")
        if len(self.secure_boot_variable) > MAX_VARIABLE_BYTES:
            raise malformed("the SecureBoot variable is too long")

    def replay(self) -> dict[int, bytes]:
        """Value of each boot PCR after these events."""
        values = {index: bytes(32) for index in BOOT_PCRS}
        values[0] = bytes(31) + bytes([self.locality])
        for index, digest in self.events:
            values[index] = sha256(values[index] + digest).digest()
        return values

    def judge(self, pcrs: Mapping[int, bytes]) -> dict[str, str]:
        """Claims of a log that leads to ``pcrs``. Raises ``EvidenceRejected`` (``event_log``)."""
        if any(pcrs[index] != value for index, value in self.replay().items()):
            raise _rejected("does not lead to the quoted PCRs")
        if not self.secure_boot_variable:
            return {}
        first = next((digest for index, digest in self.events if index == _SECURE_BOOT_PCR), None)
        if first != sha256(self.secure_boot_variable).digest():
            raise _rejected("carries a text that its event does not hash to")
        return {"secure_boot": "on" if _is_on(self.secure_boot_variable) else "off"}

    def serialize(self) -> bytes:
        """Locality, count (2 bytes), events of 33 bytes, the variable behind its length."""
        body = b"".join(bytes([index]) + digest for index, digest in self.events)
        count = len(self.events).to_bytes(2, "big")
        return bytes([self.locality]) + count + body + sized(self.secure_boot_variable)

    @classmethod
    def read(cls, reader: Reader) -> "BootLog":
        """Raises ``TrustError`` (``malformed``, ``too_large``)."""
        locality = reader.number(1)
        count = reader.count(2, MAX_BOOT_EVENTS)
        events = tuple((reader.number(1), reader.take(32)) for _ in range(count))
        variable = reader.sized(MAX_VARIABLE_BYTES)
        return cls(locality=locality, events=events, secure_boot_variable=variable)


def _is_on(variable: bytes) -> bool:
    """``UEFI_VARIABLE_DATA``: GUID, length of the name in characters, of the value; both."""
    name = _SECURE_BOOT.encode("utf-16-le")
    lengths = struct.pack("<QQ", len(_SECURE_BOOT), 1)
    if variable[:-1] != _EFI_GLOBAL + lengths + name:
        raise _rejected("begins PCR 7 with another variable")
    return variable[-1] == 1


def _rejected(message: str) -> EvidenceRejected:
    return EvidenceRejected(f"the boot log {message}", reason=Rejection.EVENT_LOG)
