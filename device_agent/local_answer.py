"""One answer of the device's engine, as the text that is safe to show, step by step."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inference.engine import (
    Engine,
    Finished,
    FinishReason,
    GenerateOptions,
    Prefilled,
    Token,
    TokenStatistics,
)
from inference.text.messages import ToolCall
from lanai.content import Content, TokenIds
from lanai.errors import EngineCrashed

if TYPE_CHECKING:
    from inference.guided import GuidedAnswer
    from inference.text import TextModel, TextStream

__all__ = ["LocalAnswer", "Piece"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One step of an answer: its token, and the text that became safe to show (may be empty).

    ``token_id`` is ``None`` for the text that was held back until the end. ``calls`` became whole
    with this step.
    """

    text: Content
    calls: tuple[ToolCall, ...] = ()
    token_id: int | None = None
    statistics: TokenStatistics | None = None


class LocalAnswer:
    """One request on the engine: ``prefill`` once, ``piece`` until ``None``, always ``close``."""

    def __init__(
        self,
        engine: Engine,
        text: "TextModel",
        ids: TokenIds,
        options: GenerateOptions,
        stop: Sequence[str],
        guided: "GuidedAnswer | None" = None,
        adapter: str | None = None,
    ) -> None:
        """``guided`` of a constrained answer reads its tokens; it knows the stop strings."""
        self.output_tokens = 0
        self.finish_reason: FinishReason | None = None
        self.decode_s = 0.0
        self.drafted = 0
        """Of a finished answer: tokens that were guessed, and those of them that were right."""
        self.accepted = 0
        constraint = None if guided is None else guided.constraint
        self._events = engine.submit(ids, options, adapter=adapter, constraint=constraint)
        self._reader = _Plain(text.decoder(stop)) if guided is None else guided
        self._started = 0.0

    async def prefill(self) -> Prefilled:
        """The prompt is in the cache. Raises ``EngineError``."""
        event = await anext(self._events, None)
        if not isinstance(event, Prefilled):
            raise EngineCrashed("the engine answered out of order")
        self._started = time.perf_counter()
        return event

    async def piece(self) -> Piece | None:
        """The next step, or ``None`` after the last. Raises ``EngineError``."""
        if self.finish_reason is not None:
            return None
        event = await anext(self._events, None)
        if isinstance(event, Token):
            return await self._token(event)
        if isinstance(event, Finished):
            self.finish_reason, self.decode_s = event.reason, event.decode_s
            self.drafted, self.accepted = event.drafted, event.accepted
            return _piece(self._reader.finish())
        raise EngineCrashed("the engine ended without a last event")

    async def _token(self, token: Token) -> Piece:
        self.output_tokens += 1
        pieces = self._reader.push(token.id)
        if self._reader.stopped:
            self.finish_reason = FinishReason.STOP
            self.decode_s = time.perf_counter() - self._started
            await self.close()
        return _piece(pieces, token)

    async def close(self) -> None:
        """Cancel if it still runs; the engine frees the cache at once. Idempotent."""
        await self._events.aclose()


class _Plain:
    """Reads an answer of text alone."""

    def __init__(self, text: "TextStream") -> None:
        self._text = text

    @property
    def stopped(self) -> bool:
        return self._text.stopped

    def push(self, token_id: int) -> list[Content | ToolCall]:
        return [Content(self._text.push(token_id))]

    def finish(self) -> list[Content | ToolCall]:
        return [Content(self._text.finish())]


def _piece(pieces: Sequence[Content | ToolCall], token: Token | None = None) -> Piece:
    return Piece(
        text=Content("".join(piece for piece in pieces if not isinstance(piece, ToolCall))),
        calls=tuple(piece for piece in pieces if isinstance(piece, ToolCall)),
        token_id=None if token is None else token.id,
        statistics=None if token is None else token.statistics,
    )
