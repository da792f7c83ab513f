"""What travels between the front and the worker of one request, on a socket of their own.

Front to worker: sealed body chunks, one message each. Worker to front, one message each:

    f  a wire frame (``InferResponse``), to be passed on untouched
    r  a refusal before the answer began: a ``RefusalCode`` word
    d  done: empty, or the ``RefusalCode`` word that stands in the sealed last frame

The socket keeps message boundaries. An end without ``r`` or ``d`` is a worker that died. The
keyholder and the zygote refuse on the same socket when they cannot pass a request on.
"""

import socket
from contextlib import suppress
from typing import Final

from lanai.errors import CloudRefused, EnvelopeRejected, RefusalCode, Rejection

__all__ = [
    "DONE",
    "FRAME",
    "MAX_REPLY_BYTES",
    "REFUSED",
    "code_of",
    "longest_s",
    "refuse",
    "request_pair",
    "word",
]

FRAME: Final = b"f"
REFUSED: Final = b"r"
DONE: Final = b"d"
MAX_REPLY_BYTES: Final = 4096
SPARE_S: Final = 20.0


def longest_s(timeout_s: float) -> float:
    """After how many seconds a request with this deadline is given up by front and kernel.

    The worker keeps the deadline. A constant stream may fill its bucket afterwards, which at most
    doubles it; then there is some room for a slow machine.
    """
    return 2 * timeout_s + SPARE_S


def request_pair() -> tuple[socket.socket, socket.socket]:
    """The front's end and the worker's."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def refuse(request: socket.socket, code: RefusalCode) -> None:
    """Tell the front why there is no answer. A front that is gone needs no telling."""
    with suppress(OSError):
        request.send(REFUSED + code.value.encode())


def word(payload: bytes) -> RefusalCode:
    """The word of a reply; one outside the list is ``internal``."""
    try:
        return RefusalCode(payload.decode("ascii"))
    except ValueError:  # UnicodeDecodeError is one
        return RefusalCode.INTERNAL


def code_of(error: EnvelopeRejected | CloudRefused) -> RefusalCode:
    """What the peer is told: of an envelope that was rejected, no reason that could be probed."""
    if isinstance(error, CloudRefused):
        return error.refusal
    codes = {Rejection.EXPIRED: RefusalCode.EXPIRED, Rejection.TOO_LARGE: RefusalCode.TOO_LARGE}
    return codes.get(error.reason, RefusalCode.ENVELOPE_REJECTED)
