"""The opened body as values: parsed strictly, nothing clamped, nothing of it in any message."""

import math
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from inference.engine import GenerateOptions, Sampling
from inference.text import ChatMessage
from lanai.content import Content
from lanai.errors import CloudRefused, RefusalCode
from protos.lanai.v1alpha import envelope_pb2

__all__ = ["AskedFor", "read_request"]

ROLES = frozenset({"system", "user", "assistant"})
MAX_MESSAGES = 1024
MAX_STOP = 16
MAX_STOP_CHARACTERS = 256
MAX_TEMPERATURE = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedFor:
    """One request, opened. Lives as long as the request runs."""

    messages: tuple[ChatMessage, ...] = field(repr=False)
    max_tokens: int
    sampling: Sampling
    stop: tuple[str, ...] = field(repr=False)
    shape: int = envelope_pb2.PADDED
    """Of ``envelope_pb2.Shape``."""

    def options(self, stop_ids: frozenset[int]) -> GenerateOptions:
        """What the engine is told: numbers only."""
        return GenerateOptions(
            max_tokens=self.max_tokens, stop_ids=stop_ids, sampling=self.sampling
        )


def read_request(body: bytes) -> AskedFor:
    """Read a ``RequestBody``. Raises ``CloudRefused`` (``bad_request``) for anything out of range.

    Ranges: 1 to 1024 messages of known roles, ``max_tokens`` at least 1, temperature 0 to 5,
    ``top_p`` above 0 to 1 (1 is off), up to 16 stop strings of 1 to 256 characters.
    """
    try:
        message = envelope_pb2.RequestBody.FromString(body)
    except DecodeError:
        raise _bad_request() from None
    _check(message)
    return AskedFor(
        messages=tuple(ChatMessage(role=m.role, text=Content(m.text)) for m in message.messages),
        max_tokens=message.max_tokens,
        sampling=Sampling(
            temperature=message.temperature,
            top_p=message.top_p,
            top_k=message.top_k,
            seed=message.seed if message.HasField("seed") else None,
        ),
        stop=tuple(message.stop),
        shape=message.shape or envelope_pb2.PADDED,
    )


def _check(message: envelope_pb2.RequestBody) -> None:
    sound = (
        0 < len(message.messages) <= MAX_MESSAGES,
        all(m.role in ROLES for m in message.messages),
        message.max_tokens >= 1,
        math.isfinite(message.temperature) and 0.0 <= message.temperature <= MAX_TEMPERATURE,
        0.0 < message.top_p <= 1.0,
        len(message.stop) <= MAX_STOP,
        all(0 < len(stop) <= MAX_STOP_CHARACTERS for stop in message.stop),
        message.shape in envelope_pb2.Shape.values(),
    )
    if not all(sound):
        raise _bad_request()


def _bad_request() -> CloudRefused:
    return CloudRefused("the request's body is out of range", refusal=RefusalCode.BAD_REQUEST)
