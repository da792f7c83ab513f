"""The bytes of TPM evidence. Exact: what parses is the only encoding of its value.

    1    version, 1
    2+n  quote, ``TPMS_ATTEST``
    2+n  signature, ``TPMT_SIGNATURE``
    480  values of PCRs 0-9 and 11-15, SHA-256 bank
    1    number of certificates; each 2+n, DER, AK first
    2    number of node events; each 33: kind, digest
    1    1 when a boot log follows, else 0

Numbers are big-endian. Every byte is covered: the quote by the signature, the signature and the
certificates by their keys, PCR values by the quote's digest, events by the PCRs they lead to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lanai.errors import Rejection, TrustError
from trust.attestation.tpm2.boot_log import BootLog
from trust.attestation.tpm2.chain import MAX_CERTIFICATE_BYTES, MAX_CHAIN
from trust.attestation.tpm2.node_log import MAX_EVENTS, NodeEvent
from trust.attestation.tpm2.reader import Reader, sized
from trust.strict import malformed

__all__ = ["QUOTED_PCRS", "Tpm2Payload"]

QUOTED_PCRS: Final = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15)
"""All that nothing resets, without IMA's (10), which changes with every file."""
VERSION: Final = 1
_MAX_QUOTE: Final = 512
_MAX_SIGNATURE: Final = 1024
_PCR_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Tpm2Payload:
    """Parsed, not verified. ``pcrs`` has exactly `QUOTED_PCRS`; ``chain`` is DER, AK first."""

    quote: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    pcrs: Mapping[int, bytes] = field(repr=False)
    chain: tuple[bytes, ...] = field(repr=False)
    events: tuple[NodeEvent, ...] = field(repr=False)
    boot_log: BootLog | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if tuple(self.pcrs) != QUOTED_PCRS or {len(v) for v in self.pcrs.values()} != {_PCR_BYTES}:
            raise malformed("the quoted PCRs are 0 to 15 without 10, 32 bytes each")
        if not 0 < len(self.chain) <= MAX_CHAIN or len(self.events) > MAX_EVENTS:
            raise TrustError("too many certificates or events", reason=Rejection.TOO_LARGE)

    def serialize(self) -> bytes:
        """The one encoding of this value."""
        parts = [bytes([VERSION]), sized(self.quote), sized(self.signature), *self.pcrs.values()]
        parts += [bytes([len(self.chain)]), *map(sized, self.chain)]
        parts += [len(self.events).to_bytes(2, "big"), *(e.serialize() for e in self.events)]
        parts += [b"\x01", self.boot_log.serialize()] if self.boot_log else [b"\x00"]
        return b"".join(parts)

    @classmethod
    def parse(cls, data: bytes) -> "Tpm2Payload":
        """Raises ``TrustError`` (``version``, ``malformed``, ``too_large``)."""
        read = Reader(data)
        if read.number(1) != VERSION:
            raise TrustError("evidence of another version", reason=Rejection.VERSION)
        quote, signature = read.sized(_MAX_QUOTE), read.sized(_MAX_SIGNATURE)
        pcrs = {index: read.take(_PCR_BYTES) for index in QUOTED_PCRS}
        chain = tuple(read.sized(MAX_CERTIFICATE_BYTES) for _ in range(read.count(1, MAX_CHAIN)))
        events = tuple(NodeEvent.read(read) for _ in range(read.count(2, MAX_EVENTS)))
        boot_log = BootLog.read(read) if read.count(1, 1) else None
        read.end()
        return cls(
            quote=quote,
            signature=signature,
            pcrs=pcrs,
            chain=chain,
            events=events,
            boot_log=boot_log,
        )
