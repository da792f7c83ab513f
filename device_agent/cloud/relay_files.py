"""Files of the public tree, read through the relay: how a device gets newer trust root metadata.

They are asked for under the gateway's key *as the relay shows it*, unverified. It could only be
verified under the trust root that is about to be replaced, whose log may have been replaced too: a
device that slept through that would be locked out for good. Nothing is lost. The metadata proves
itself, whoever sends it; and whoever shows a key of his own instead of the gateway's learns which
public file is asked for, and by that how old this device's root is, of an address the relay sees
anyway. Trying a verified key first would help nobody: a relay that lies makes it fail. Requests are
another matter; they are sealed to verified keys only (`sealed.SealedTransport`).

The relay itself is the one of the last verified trust root, even an expired one: it carries bytes.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from google.protobuf.message import DecodeError

from device_agent.cloud.sealed import sealed_fetch
from device_agent.cloud.transport import Transport
from lanai.errors import (
    CloudRefused,
    CloudUnavailable,
    EnvelopeRejected,
    RefusalCode,
    TrustError,
)
from protos.lanai.v1alpha.gateway_pb2 import (
    FetchRequest,
    FetchResponse,
    FileRequest,
    FileResponse,
    KeysResponse,
)
from trust.keys import LoggedKey
from trust.root import TrustRoot

__all__ = ["RelayFiles", "relay_files"]

FOLDER: Final = "tuf/"
MAX_RESPONSE_BYTES: Final = 512 * 1024
MAX_KEYS: Final = 16


class RelayFiles:
    """A ``FileSource`` of the folder ``tuf``. ``transport`` is the unsealed one."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._keys: tuple[bytes, ...] = ()

    async def read(self, path: str, limit: int) -> bytes | None:
        """Raises ``CloudError``: no relay, no gateway, or an answer that is not of this protocol.

        Of more than ``limit`` bytes, one more is passed on: a message of the wire is bounded.
        """
        if not self._keys:
            self._keys = _gateway_keys(await self._transport.keys())
        question = FetchRequest(file=FileRequest(path=FOLDER + path)).SerializeToString()
        answer = _answer(await self._ask(question))
        return answer.content[: limit + 1] if answer.found else None

    async def _ask(self, question: bytes) -> bytes:
        """Under the first of the shown keys that the gateway has."""
        for key in self._keys:
            try:
                return await sealed_fetch(self._transport, key, question)
            except CloudRefused as error:
                if error.refusal is not RefusalCode.UNKNOWN_KEY:
                    raise
            except EnvelopeRejected:
                raise _not_ours() from None
        raise CloudUnavailable("the gateway has none of the keys it shows", hint="ask again")


@asynccontextmanager
async def relay_files(root: TrustRoot) -> AsyncGenerator[RelayFiles, None]:
    """Files through the relay of ``root``; the connection is closed on leaving."""
    from device_agent.cloud.transport_grpc import GrpcRelayTransport

    transport = GrpcRelayTransport(root.relay)
    try:
        yield RelayFiles(transport)
    finally:
        await transport.close()


def _gateway_keys(data: bytes) -> tuple[bytes, ...]:
    """Keys of the gateway as shown, the newest first; nothing of them is verified."""
    try:
        if len(data) > MAX_RESPONSE_BYTES:
            raise _not_ours()
        messages = KeysResponse.FromString(data).keys[:MAX_KEYS]
        records = [LoggedKey.from_proto(message).record for message in messages]
    except (DecodeError, TrustError):
        raise _not_ours() from None
    found = [record for record in records if record.purpose == "gateway"]
    found.sort(key=lambda record: record.expires_at, reverse=True)
    return tuple(record.key for record in found)


def _answer(data: bytes) -> FileResponse:
    try:
        response = FetchResponse.FromString(data)
    except DecodeError:
        response = FetchResponse()
    if response.WhichOneof("kind") != "file":
        raise _not_ours()
    return response.file


def _not_ours() -> CloudUnavailable:
    return CloudUnavailable(
        "the relay's answer is not of this protocol",
        hint="bring device and cluster to the same release",
    )
