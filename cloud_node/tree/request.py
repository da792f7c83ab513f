"""The opened body as values: parsed strictly, nothing clamped, nothing of it in any message."""

import math
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from cloud_node.tree.forms import (
    bad_request,
    read_choice,
    read_form,
    read_messages,
    read_tools,
)
from inference.engine import GenerateOptions, Sampling
from inference.guided import OutputForm
from inference.text import ChatMessage, Tool, ToolChoice
from protos.lanai.v1alpha import envelope_pb2

__all__ = ["AskedFor", "read_request"]

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
    form: OutputForm | None = field(default=None, repr=False)
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice.AUTO
    shape: int = envelope_pb2.PADDED
    """Of ``envelope_pb2.Shape``."""

    @property
    def guided(self) -> bool:
        """Whether a grammar has a say in the answer."""
        required = self.tool_choice is ToolChoice.REQUIRED
        return self.form is not None or bool(self.tools) or required

    def options(self, stop_ids: frozenset[int]) -> GenerateOptions:
        """What the engine is told: numbers only."""
        return GenerateOptions(
            max_tokens=self.max_tokens, stop_ids=stop_ids, sampling=self.sampling
        )


def read_request(body: bytes) -> AskedFor:
    """Read a ``RequestBody``. Raises ``CloudRefused`` (``bad_request``) for anything out of range.

    Ranges: those of `cloud_node.tree.forms`, ``max_tokens`` at least 1, temperature 0 to 5,
    ``top_p`` above 0 to 1 (1 is off), up to 16 stop strings of 1 to 256 characters.
    """
    try:
        message = envelope_pb2.RequestBody.FromString(body)
    except DecodeError:
        raise bad_request() from None
    _check(message)
    return AskedFor(
        messages=read_messages(message),
        max_tokens=message.max_tokens,
        sampling=Sampling(
            temperature=message.temperature,
            top_p=message.top_p,
            top_k=message.top_k,
            seed=message.seed if message.HasField("seed") else None,
        ),
        stop=tuple(message.stop),
        form=read_form(message),
        tools=read_tools(message),
        tool_choice=read_choice(message),
        shape=message.shape or envelope_pb2.PADDED,
    )


def _check(message: envelope_pb2.RequestBody) -> None:
    sound = (
        message.max_tokens >= 1,
        math.isfinite(message.temperature) and 0.0 <= message.temperature <= MAX_TEMPERATURE,
        0.0 < message.top_p <= 1.0,
        len(message.stop) <= MAX_STOP,
        all(0 < len(stop) <= MAX_STOP_CHARACTERS for stop in message.stop),
        message.shape in envelope_pb2.Shape.values(),
    )
    if not all(sound):
        raise bad_request()
