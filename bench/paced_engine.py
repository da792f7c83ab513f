"""An engine that says a fixed answer at a fixed pace: what is measured is all around it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from inference.engine import (
    EngineInfo,
    Event,
    Finished,
    FinishReason,
    GenerateOptions,
    Prefilled,
    Token,
)

__all__ = ["Pace", "PacedEngine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds before the first token and between tokens; 0 is as fast as the path takes them."""

    prefill_s: float = 0.0
    token_s: float = 0.0


class PacedEngine:
    """Part of an ``Engine``. ``pace`` may be changed between requests."""

    def __init__(self, token_id: int, pace: Pace, *, vocabulary: int) -> None:
        self._token_id = token_id
        self.pace = pace
        self.info = EngineInfo(
            architecture="paced",
            vocabulary=vocabulary,
            width=0,
            context_tokens=0,
            weights_sha256="",
            device="cpu",
        )

    async def submit(
        self, ids: Sequence[int], options: GenerateOptions, *, constraint: None = None
    ) -> AsyncGenerator[Event, None]:
        """As many tokens as are asked for, each when due: a model does not wait for the path."""
        pace, loop = self.pace, asyncio.get_running_loop()
        await asyncio.sleep(pace.prefill_s)
        yield Prefilled(input_tokens=len(ids), queue_s=0.0, prefill_s=pace.prefill_s)
        due = loop.time()
        for _ in range(options.max_tokens):
            await asyncio.sleep(max(0.0, due - loop.time()))
            due += pace.token_s
            yield Token(id=self._token_id)
        yield Finished(
            reason=FinishReason.LENGTH,
            output_tokens=options.max_tokens,
            decode_s=options.max_tokens * pace.token_s,
        )

    async def close(self) -> None:
        """Nothing is open."""
