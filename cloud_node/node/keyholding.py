"""The front's way to the keyholder: keys for an epoch, and requests to be passed on."""

import socket
from typing import Final, Protocol

from cloud_node.tree.doors import AsyncDoor, Door, wait_readable
from cloud_node.tree.keyholder import KeyOffer
from cloud_node.tree.request_socket import request_pair
from cloud_node.tree.summons import Summons
from lanai.errors import CloudRefused, CloudUnavailable, RefusalCode

__all__ = ["KeySession", "KeySource", "Keyholding"]

HINT: Final = "the node's launcher brings it back; see `lanai cloud status`"


class KeySession:
    """A key in service. The keyholder drops it when the session is closed, or when it dies."""

    def __init__(self, offer: KeyOffer, end: socket.socket) -> None:
        self.offer = offer
        self._end = end

    async def lost(self) -> None:
        """Until the keyholder has let go of the key."""
        await wait_readable(self._end)

    def close(self) -> None:
        """Have the key dropped for good. Idempotent."""
        self._end.close()


class KeySource(Protocol):
    """What a front needs of whoever holds its keys."""

    async def keys(self, tls_spki_sha256: bytes, *, lifetime_s: int) -> KeySession:
        """See ``Keyholding.keys``."""

    def request(self, summons: Summons) -> socket.socket:
        """See ``Keyholding.request``."""

    def close(self) -> None:
        """Let go of it. Idempotent."""


class Keyholding:
    """A ``KeySource`` in another process. ``connect`` gives its door, and a new one's later."""

    def __init__(self) -> None:
        self._door: AsyncDoor | None = None

    def connect(self, door: Door) -> None:
        self.close()
        self._door = AsyncDoor(door)

    async def keys(self, tls_spki_sha256: bytes, *, lifetime_s: int) -> KeySession:
        """A fresh attested key. Raises ``CloudUnavailable``."""
        ours, theirs = Door.pair()
        with theirs.socket:
            self._send(
                {"kind": "keys", "spki": tls_spki_sha256, "lifetime_s": lifetime_s}, theirs.socket
            )
        try:
            message, _ = await AsyncDoor(ours).receive()
            return KeySession(KeyOffer.parse(message), ours.socket)
        except (EOFError, KeyError, TypeError, ValueError):
            ours.close()
            raise CloudUnavailable("the keyholder gives no key", hint=HINT) from None

    def request(self, summons: Summons) -> socket.socket:
        """Pass a request on; the answer comes over what is returned, the caller's to close.

        Raises ``CloudRefused`` (``BUSY``) when there is no keyholder just now.
        """
        ours, theirs = request_pair()
        try:
            with theirs:
                self._send({"kind": "request", **summons.to_message()}, theirs)
        except CloudUnavailable:
            ours.close()
            raise CloudRefused("no keyholder", refusal=RefusalCode.BUSY) from None
        ours.setblocking(False)
        return ours

    def close(self) -> None:
        if self._door is not None:
            self._door.close()
            self._door = None

    def _send(self, message: dict[str, object], end: socket.socket) -> None:
        try:
            if self._door is None:
                raise ConnectionError
            self._door.send(message, (end.fileno(),))
        except OSError:
            raise CloudUnavailable("the keyholder is away", hint=HINT) from None
