"""All that the agent needs of the cloud client, as protocols, so that tests can stand in for it.

`device_agent.cloud` implements them; nothing here opens a connection.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from inference.engine import Sampling
from inference.guided import OutputForm
from inference.text import ChatMessage, Tool, ToolCall, ToolChoice
from lanai.content import Content

__all__ = [
    "Cloud",
    "CloudAsk",
    "CloudDisclosure",
    "CloudFinal",
    "CloudReceipt",
    "CloudStatus",
    "CloudStream",
    "CloudTiming",
    "StreamShape",
]

StreamShape = Literal["padded", "constant"]
"""What sizes and times of the answer may show (``docs/stream-shape.md``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudAsk:
    """One request: what goes under the seal."""

    messages: tuple[ChatMessage, ...]
    max_tokens: int
    sampling: Sampling
    stop: tuple[Content, ...]
    form: OutputForm | None = field(default=None, repr=False)
    tools: tuple[Tool, ...] = ()
    """What the model is told; they run on the device alone."""
    tool_choice: ToolChoice = ToolChoice.AUTO
    shape: StreamShape = "padded"


class CloudStatus(Protocol):
    """What the client knows of its cluster without sending a request."""

    @property
    def configured(self) -> bool: ...
    @property
    def reachable(self) -> bool: ...
    @property
    def verified_nodes(self) -> int: ...
    @property
    def most_nodes(self) -> int: ...
    @property
    def tokens_left(self) -> int | bool | None: ...
    @property
    def tokens_lost(self) -> int: ...
    @property
    def model(self) -> str | None: ...
    @property
    def weights(self) -> str | None:
        """Digest of the model's folder (hex), as every verified node's release names it."""

    @property
    def context_tokens(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def hint(self) -> str | None: ...


class CloudTiming(Protocol):
    """A step of the node, in microseconds; ``start_us`` counts from its receipt of the header."""

    @property
    def name(self) -> str: ...
    @property
    def start_us(self) -> int: ...
    @property
    def duration_us(self) -> int: ...


class CloudFinal(Protocol):
    """The last frame."""

    @property
    def finish_reason(self) -> str: ...
    @property
    def input_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def model(self) -> str: ...
    @property
    def timings(self) -> Sequence[CloudTiming]: ...


class CloudReceipt(Protocol):
    @property
    def node(self) -> str: ...
    @property
    def measurement(self) -> str: ...
    @property
    def evidence(self) -> str: ...
    @property
    def log_checkpoint(self) -> str: ...
    @property
    def shape(self) -> StreamShape: ...


class CloudDisclosure(Protocol):
    """What left the device so far, and for whom it was sealed (hex node ids)."""

    @property
    def bytes_sent(self) -> int: ...
    @property
    def bytes_received(self) -> int: ...
    @property
    def nodes(self) -> Sequence[str]: ...


class CloudStream(Protocol):
    """Pieces of text and whole tool calls; the rest is there once iteration ended."""

    def __aiter__(self) -> AsyncIterator[Content | ToolCall]: ...
    @property
    def preparation(self) -> Sequence[CloudTiming]:
        """The device's own steps before sending, since ``open`` began."""

    @property
    def final(self) -> CloudFinal: ...
    @property
    def receipt(self) -> CloudReceipt: ...
    @property
    def disclosure(self) -> CloudDisclosure: ...


class Cloud(Protocol):
    """One enrolled cluster."""

    async def status(self) -> CloudStatus:
        """Never raises for a cluster that is down or not acceptable."""

    def open(self, ask: CloudAsk, *, deadline_s: float) -> AbstractAsyncContextManager[CloudStream]:
        """Verify, seal, send. Raises ``TrustError`` (nothing was sent) or ``CloudError``."""

    async def close(self) -> None: ...
