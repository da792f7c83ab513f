"""The engine seam, the same for device and cloud: token ids in, events out.

An engine is a child process that holds weights and cache. It never sees text, schemas or stop
strings: the caller owns those, and hands a token bitmask for each step when output is constrained.
A crash of the child fails its requests with ``EngineCrashed`` and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Constraint",
    "Engine",
    "EngineInfo",
    "Event",
    "EventStream",
    "FinishReason",
    "Finished",
    "GenerateOptions",
    "Prefilled",
    "Sampling",
    "Token",
    "TokenStatistics",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is drawn. ``temperature`` 0 is greedy; ``top_k`` 0, ``top_p`` 1: off."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOptions:
    """What one request asks of the engine."""

    max_tokens: int
    stop_ids: frozenset[int] = frozenset()
    sampling: Sampling = field(default_factory=Sampling)
    hidden_state: bool = False
    """Return the last layer's normalized state at the last prompt token with ``Prefilled``."""
    statistics: bool = False
    """Return ``TokenStatistics`` with each event (of the full distribution, before sampling)."""
    speculation: bool = False
    """Guess tokens that copy from the prompt: the same answer, sooner. On a device, where the model
    can do it exactly and the request is alone, unconstrained and names no adapter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStatistics:
    """Of one next-token distribution at temperature 1, unmasked. Natural logarithms."""

    entropy: float
    margin: float
    """Probability of the likeliest token minus that of the second."""
    top_probability: float
    chosen_log_probability: float | None = None


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefilled:
    """First event: the prompt is in the cache. ``statistics`` is of the first answer token."""

    input_tokens: int
    queue_s: float
    prefill_s: float
    hidden_state: NDArray[np.float32] | None = None  # shape (width,)
    statistics: TokenStatistics | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One generated token. Stop ids are not emitted."""

    id: int
    statistics: TokenStatistics | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Last event."""

    reason: FinishReason
    output_tokens: int
    decode_s: float
    drafted: int = 0
    """Tokens that were guessed, see ``GenerateOptions.speculation``."""
    accepted: int = 0
    """Guesses that were right."""


Event = Prefilled | Token | Finished


class EventStream(Protocol):
    """The events of one request, in order; an async iterator that can be closed."""

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> Event: ...

    async def aclose(self) -> None:
        """Cancel the request if it still runs and free its cache. Idempotent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    architecture: str
    vocabulary: int
    width: int
    context_tokens: int
    weights_sha256: str
    device: str
    """``cpu`` or ``cuda``."""
    adapters: bool = False
    """Whether a request may name one."""
    lacking: tuple[str, ...] = ()
    """Words of `Protection` that were asked for and are not held; a device asks for none."""


class Constraint(Protocol):
    """Owned by the caller and asked before every step: no grammar or schema reaches the engine."""

    def allowed(self, generated: Sequence[int]) -> NDArray[np.uint32] | None:
        """Bitmask of allowed next tokens, shape (ceil(vocabulary / 32),), bit i%32 of word i//32.

        ``None`` allows every token at this step.
        """


class Engine(Protocol):
    @property
    def info(self) -> EngineInfo: ...

    def submit(
        self,
        ids: Sequence[int],
        options: GenerateOptions,
        *,
        request_id: str | None = None,
        adapter: str | None = None,
        constraint: Constraint | None = None,
    ) -> EventStream:
        """Run one request: ``Prefilled``, then ``Token`` …, then ``Finished``.

        Closing the stream cancels and frees the request's cache at once. Raises
        ``ContextOverflow`` when ids and ``max_tokens`` exceed the context, ``UsageError`` for
        options that make no sense, ``EngineCrashed`` when the child ends, ``EngineClosed`` after
        ``close``. ``adapter`` names an installed one that changes the model for this request:
        ``UsageError`` where the engine has none; ``AdapterError``, here or with the first event,
        for one that is missing, damaged or made for another model.
        """

    async def cancel(self, request_id: str) -> None:
        """End one request; its stream ends with ``Finished(CANCELLED)``. Unknown id: ignored."""

    async def close(self) -> None:
        """End the child. Idempotent."""
