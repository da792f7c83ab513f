"""Reads DER (ITU-T X.690, distinguished rules) front to back: one encoding for each value.

Only what AMD's certificates use: tags of one byte, definite lengths. A length that could be
shorter, a value left over, an unused bit that is set: each is refused, for nobody signs them.
"""

from typing import Final

from trust.attestation.sev_snp.refusal import malformed

__all__ = [
    "BIT_STRING",
    "BOOLEAN",
    "INTEGER",
    "OCTET_STRING",
    "OID",
    "SEQUENCE",
    "SET",
    "DerReader",
]

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OID: Final = 0x06
SEQUENCE: Final = 0x30
SET: Final = 0x31


class DerReader:
    """A place in some DER. Every method raises ``EvidenceRejected`` (``malformed``)."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def more(self) -> bool:
        """Whether anything is left."""
        return self._at < len(self._data)

    def next_is(self, tag: int) -> bool:
        """Whether the next value has this tag."""
        return self.more and self._data[self._at] == tag

    def element(self, tag: int) -> bytes:
        """The next value with its tag and length."""
        start = self._at
        self.content(tag)
        return self._data[start : self._at]

    def content(self, tag: int) -> bytes:
        """The next value without its tag and length."""
        data = self._data
        if data[self._at : self._at + 1] != bytes((tag,)):
            raise malformed("the certificate lacks a value, or has another one in its place")
        start, length = _length(data, self._at + 1)
        self._at = start + length
        if self._at > len(data):
            raise malformed("the certificate ends inside a value")
        return data[start : self._at]

    def inside(self, tag: int) -> "DerReader":
        """A reader of what the next value contains."""
        return DerReader(self.content(tag))

    def number(self) -> int:
        """An integer of zero or more."""
        content = self.content(INTEGER)
        padded = len(content) > 1 and content[0] == 0 and content[1] < 0x80
        if not content or content[0] > 0x7F or padded:
            raise malformed("a number in the certificate is negative or not in its shortest form")
        return int.from_bytes(content, "big")

    def whole_bytes(self) -> bytes:
        """A bit string of whole bytes."""
        content = self.content(BIT_STRING)
        if content[:1] != b"\0":
            raise malformed("a bit string in the certificate is not whole bytes")
        return content[1:]

    def end(self) -> None:
        """Nothing is left."""
        if self.more:
            raise malformed("the certificate has more than belongs there")


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Where the content begins that follows the length at ``at``, and how long it is."""
    first = int.from_bytes(data[at : at + 1], "big")
    if first < 0x80:
        return at + 1, first
    count = first & 0x7F
    start = at + 1 + count
    length = int.from_bytes(data[at + 1 : start], "big")
    if not 1 <= count <= 2 or length < (0x80 if count == 1 else 0x100):
        raise malformed("a length in the certificate is out of bounds, or not in its shortest form")
    return start, length
