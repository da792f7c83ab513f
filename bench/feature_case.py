"""One case of a feature's set, and how its texts are read and a plain prompt asked."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from device_agent import AsyncAgent, Options

__all__ = ["Ask", "Case", "Numbers", "plainly", "tsv"]

Numbers = Mapping[str, float]
Ask = Callable[[AsyncAgent], Awaitable[Numbers]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """``free``: what costs nothing. ``failed``: the numbers of an answer that did not come."""

    id: str
    feature: Ask = field(repr=False)
    plain: Ask = field(repr=False)
    free: Numbers = field(default_factory=dict)
    failed: Numbers = field(default_factory=dict)


async def plainly(agent: AsyncAgent, prompt: str, max_tokens: int) -> str:
    reply = await agent.session().respond(prompt, options=Options(max_tokens=max_tokens))
    return str(reply.text).strip()


def tsv(path: Path) -> list[tuple[str, str]]:
    lines = path.read_text(encoding="utf-8").split("\n")
    pairs = [line.partition("\t") for line in lines]
    return [(label, text.strip()) for label, _, text in pairs if text.strip()]
