"""A question to the gateway as a device asks it: sealed to a logged key, through either door."""

from typing import Any, Final

from cloud_node.identity import MAX_MESSAGE_BYTES
from lanai.errors import CloudUnavailable, EnvelopeRejected, TrustError
from protos.lanai.v1alpha import gateway_pb2
from trust.keys import KeyVerifier, LoggedKey, VerifiedKey
from trust.ohttp import FETCH, RequestSealer, configuration_of, split_message
from trust.root import TrustRoot

__all__ = ["ask"]

TIMEOUT_S: Final = 3.0


async def ask(stub: Any, root: TrustRoot, request: gateway_pb2.FetchRequest) -> bytes:
    """The serialized ``FetchResponse``. ``stub`` is of relay or gateway; gRPC's errors pass.

    Raises ``CloudUnavailable`` when no key of the gateway verifies, or the answer does not open.
    """
    shown = await stub.Keys(gateway_pb2.KeysRequest(), timeout=TIMEOUT_S)
    key = _newest(shown, root)
    sealer = RequestSealer(configuration_of(key.key), media=FETCH)
    piece = sealer.seal(request.SerializeToString(), final=True)
    answer = await stub.Fetch(gateway_pb2.Opaque(payload=piece), timeout=TIMEOUT_S)
    opener = sealer.response()
    try:
        if len(answer.payload) > MAX_MESSAGE_BYTES:
            raise CloudUnavailable("the gateway's answer is too long")
        pieces = split_message(answer.payload, prefix_bytes=opener.prefix_bytes)
        *data, refusal = [opener.open(piece) for piece in pieces]
    except EnvelopeRejected as error:
        raise CloudUnavailable(f"the gateway's answer does not open: {error.message}") from error
    if refusal or not opener.ended:
        raise CloudUnavailable("the gateway refused the question", hint="its log says why")
    return b"".join(data)


def _newest(shown: gateway_pb2.KeysResponse, root: TrustRoot) -> VerifiedKey:
    verifier, found = KeyVerifier(root), list[VerifiedKey]()
    for message in shown.keys:
        try:
            found.append(verifier.verify(LoggedKey.from_proto(message), purpose="gateway"))
        except TrustError:
            continue
    if not found:
        raise CloudUnavailable(
            "no key of the gateway verifies", hint="`lanai cloud rotate-keys` publishes one"
        )
    return max(found, key=lambda key: key.not_before)
