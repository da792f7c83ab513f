"""Big-endian fields of TPM structures, taken one after another and never past the end."""

from lanai.errors import Rejection, TrustError
from trust.strict import malformed

__all__ = ["Reader", "sized"]


class Reader:
    """Reads ``data`` from its beginning. Everything raises ``TrustError``."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        end = self._at + count
        if end > len(self._data):
            raise malformed("a structure ends early")
        found, self._at = self._data[self._at : end], end
        return found

    def number(self, size: int) -> int:
        """An unsigned integer of ``size`` bytes."""
        return int.from_bytes(self.take(size), "big")

    def count(self, size: int, limit: int) -> int:
        """A number of ``size`` bytes, ``limit`` at most (``too_large``)."""
        found = self.number(size)
        if found > limit:
            raise TrustError("a structure has too many parts", reason=Rejection.TOO_LARGE)
        return found

    def sized(self, limit: int) -> bytes:
        """Bytes behind their 16-bit length, ``limit`` at most: the TPM's ``TPM2B``."""
        return self.take(self.count(2, limit))

    def end(self) -> None:
        """Nothing may be left."""
        if self._at != len(self._data):
            raise malformed("bytes after the end of a structure")


def sized(data: bytes) -> bytes:
    """``data`` behind its 16-bit length."""
    return len(data).to_bytes(2, "big") + data
