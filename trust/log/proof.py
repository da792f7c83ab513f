"""The text form of an inclusion proof and its checkpoint (c2sp.org/tlog-proof), for files."""

import base64
import re

from lanai.errors import LogRejected, Rejection, TrustError
from trust.bundle import LogProof
from trust.log.checkpoint import exact_base64
from trust.log.notes import MAX_NOTE_BYTES

__all__ = ["HEADER", "format_proof", "parse_proof"]

HEADER = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")
_EXTRA = "extra "


def format_proof(proof: LogProof) -> str:
    """The file form of ``proof``, without extra data."""
    hashes = [base64.b64encode(item).decode("ascii") for item in proof.hashes]
    head = "\n".join([HEADER, f"index {proof.index}", *hashes])
    return f"{head}\n\n{proof.checkpoint.decode()}"


def parse_proof(data: bytes) -> LogProof:
    """Read the file form. Nothing is verified, and extra data is dropped: nobody signed it.

    Raises ``LogRejected`` (``malformed``, ``too_large``).
    """
    if len(data) > 2 * MAX_NOTE_BYTES:
        raise LogRejected("the proof is too long", reason=Rejection.TOO_LARGE)
    try:
        head, blank, checkpoint = data.decode("utf-8").partition("\n\n")
    except UnicodeDecodeError:
        raise _malformed("the proof is not UTF-8") from None
    lines = head.split("\n")
    if not blank or lines.pop(0) != HEADER:
        raise _malformed("no tlog-proof of version 1")
    if lines and lines[0].startswith(_EXTRA):
        exact_base64(lines.pop(0).removeprefix(_EXTRA))
    index = _INDEX.fullmatch(lines.pop(0)) if lines else None
    if index is None:
        raise _malformed("the index line is missing or no number")
    try:
        hashes = tuple(map(exact_base64, lines))
        return LogProof(index=int(index[1]), hashes=hashes, checkpoint=checkpoint.encode())
    except TrustError as error:
        raise LogRejected(error.message, reason=error.reason) from error


def _malformed(message: str) -> LogRejected:
    return LogRejected(message, reason=Rejection.MALFORMED)
