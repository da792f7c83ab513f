"""The device's context as a budget, and the model made ready before it is needed."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from device_agent.local import Device
from inference.engine import GenerateOptions
from inference.text import ChatMessage

__all__ = ["Budget", "budget_of", "warm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Tokens. ``used`` by the conversation as the device's model is told it; ``limit`` in all."""

    used: int
    limit: int

    @property
    def left(self) -> int:
        """For the answer; below 0 when not even the prompt fits."""
        return self.limit - self.used


async def budget_of(device: Device, messages: Sequence[ChatMessage]) -> Budget:
    """Raises ``ModelError``. An empty conversation uses nothing."""
    text = await device.text()
    used = len(text.render(messages)) if messages else 0
    return Budget(used=used, limit=device.context_tokens)


async def warm(device: Device, messages: Sequence[ChatMessage]) -> None:
    """Start the engine; run the messages up to the first token of an answer, which is dropped."""
    text, engine = await device.text(), await device.engine()
    if not messages:
        return
    options = GenerateOptions(max_tokens=1, stop_ids=text.stop_ids)
    async with aclosing(engine.submit(text.render(messages), options)) as events:
        async for _ in events:
            pass
