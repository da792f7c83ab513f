"""Reads binary evidence front to back. Lengths are checked before anything is cut."""

from lanai.errors import EvidenceRejected, Rejection

__all__ = ["ByteReader"]


class ByteReader:
    """``data``, from its first byte. Everything raises ``EvidenceRejected`` in the kind's name."""

    def __init__(self, data: bytes, kind: str) -> None:
        self._data = data
        self._kind = kind
        self._at = 0

    @property
    def position(self) -> int:
        """How many bytes were read."""
        return self._at

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes (``truncated``)."""
        end = self._at + count
        if end > len(self._data):
            raise self._rejected("it ends too early", Rejection.TRUNCATED)
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def little(self, size: int) -> int:
        """A little-endian number of ``size`` bytes."""
        return int.from_bytes(self.take(size), "little")

    def big(self, size: int) -> int:
        """A big-endian number of ``size`` bytes."""
        return int.from_bytes(self.take(size), "big")

    def rest(self) -> bytes:
        """Everything that was not read yet."""
        return self.take(len(self._data) - self._at)

    def end(self) -> None:
        """Nothing may follow (``after_end``)."""
        if self._at != len(self._data):
            raise self._rejected("something follows its end", Rejection.AFTER_END)

    def _rejected(self, message: str, reason: Rejection) -> EvidenceRejected:
        return EvidenceRejected(f"{self._kind} evidence: {message}", reason=reason)
