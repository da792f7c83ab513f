"""What the agent needs of an endpoint outside, so that tests can stand in for it."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from device_agent.cloud_seam import CloudAsk
from device_agent.external.outgoing import Outgoing
from inference.engine import FinishReason
from lanai.content import Content

__all__ = ["External", "ExternalFinal", "ExternalStream"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalFinal:
    """As the endpoint said it; tokens are 0 where it did not count."""

    model: str
    finish_reason: FinishReason
    input_tokens: int
    output_tokens: int


class ExternalStream(Protocol):
    """Pieces of text; the rest is there once iteration ended."""

    def __aiter__(self) -> AsyncIterator[Content]: ...
    @property
    def final(self) -> ExternalFinal: ...
    @property
    def bytes_received(self) -> int: ...


class External(Protocol):
    @property
    def url(self) -> str:
        """Where requests go; holds no key."""

    def size(self, ask: CloudAsk) -> int:
        """Bytes of the request's body."""

    def open(self, outgoing: Outgoing) -> AbstractAsyncContextManager[ExternalStream]:
        """Send it. Raises ``ExternalError``, ``DeadlineExceeded``."""

    async def close(self) -> None: ...
