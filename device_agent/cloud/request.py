"""The request's body, as the node reads it under the seal."""

from device_agent.cloud.forms import CHOICES, message_of, set_form, tool_of
from device_agent.cloud.transport import refused
from device_agent.cloud_seam import CloudAsk as CloudRequest
from lanai.errors import RefusalCode, UsageError
from protos.lanai.v1alpha.envelope_pb2 import CONSTANT, PADDED, RequestBody
from trust.envelope import MAX_BODY_BYTES

__all__ = ["CloudRequest", "encode_body"]

SHAPES = {"padded": PADDED, "constant": CONSTANT}


def encode_body(request: CloudRequest) -> bytes:
    """Serialize for sealing.

    Raises ``UsageError`` for values the wire cannot carry, ``CloudRefused`` (``TOO_LARGE``) for
    more than an envelope holds: before a token is taken for it.
    """
    sampling = request.sampling
    try:
        body = RequestBody(
            messages=map(message_of, request.messages),
            max_tokens=request.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            stop=request.stop,
            shape=SHAPES[request.shape],
            tools=map(tool_of, request.tools),
            tool_choice=CHOICES[request.tool_choice],
        )
        set_form(body, request.form)
        if sampling.seed is not None:
            body.seed = sampling.seed
    except (ValueError, TypeError, KeyError):
        # From None: protobuf's message may quote text.
        raise UsageError(
            "a setting of the request is out of range",
            hint="max_tokens, top_k and seed are not negative; text is Unicode; "
            "the shape is padded or constant",
        ) from None
    data = body.SerializeToString()
    if len(data) > MAX_BODY_BYTES:
        raise refused(RefusalCode.TOO_LARGE)
    return data
