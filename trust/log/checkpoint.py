"""The checkpoint: what a log says of itself in one signed note (c2sp.org/tlog-checkpoint)."""

import base64
import re
from dataclasses import dataclass
from hashlib import sha256

from lanai.errors import LogRejected, Rejection
from trust.log.merkle import HASH_BYTES, MAX_SIZE

__all__ = ["MAX_CHECKPOINT_BYTES", "Checkpoint", "exact_base64"]

MAX_CHECKPOINT_BYTES = 64 * 1024
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
# Also lone surrogates, which no UTF-8 has.
_UNFIT = re.compile(r"[\x00-\x1f\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """``size`` leaves have the Merkle ``root`` (32 bytes) in the log named ``origin``.

    ``extensions`` are opaque lines that the log signed too; Lanai's own log writes none.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if any(not line or _UNFIT.search(line) for line in (self.origin, *self.extensions)):
            raise _malformed("an empty line or a control character in a checkpoint")
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != HASH_BYTES:
            raise _malformed("a checkpoint has a size below 2**63 and a root of 32 bytes")

    def format(self) -> str:
        """The note text, with its last newline."""
        root = base64.b64encode(self.root).decode("ascii")
        return "".join(f"{x}\n" for x in (self.origin, self.size, root, *self.extensions))

    def digest(self) -> bytes:
        """SHA-256 of the note text (32 bytes)."""
        return sha256(self.format().encode()).digest()

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Read a note text. Raises ``LogRejected`` (``malformed``, ``too_large``)."""
        if len(text) > MAX_CHECKPOINT_BYTES:
            raise LogRejected("the checkpoint is too long", reason=Rejection.TOO_LARGE)
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() != "":
            raise _malformed("a checkpoint is three lines or more, each ended")
        origin, size, root, *extensions = lines
        if _SIZE.fullmatch(size) is None:
            raise _malformed("the tree size is no decimal number without leading zeros")
        return cls(
            origin=origin,
            size=int(size),
            root=exact_base64(root),
            extensions=tuple(extensions),
        )


def exact_base64(text: str) -> bytes:
    """Decode base64 that has exactly one spelling. Raises ``LogRejected`` (``malformed``)."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise _malformed("not base64") from None
    # Spare bits of the last character would give one value several spellings.
    if base64.b64encode(data).decode("ascii") != text:
        raise _malformed("base64 with spare bits set")
    return data


def _malformed(message: str) -> LogRejected:
    return LogRejected(message, reason=Rejection.MALFORMED)
