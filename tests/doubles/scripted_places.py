"""The two places an agent sends a request to, as a test writes them: a device model, a cloud."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device_agent.cloud.values import CloudFinal, CloudStatus, Disclosure, Receipt, Timing
from device_agent.cloud_seam import CloudAsk
from device_agent.local import LocatedModel
from inference.text import ToolCall
from lanai.content import Content
from lanai.errors import ModelNotFound

__all__ = ["READY", "ScriptedCloud", "ScriptedLoader"]

Said = str | Content | ToolCall

READY = CloudStatus(
    configured=True,
    reachable=True,
    verified_nodes=2,
    most_nodes=2,
    tokens_left=5,
    tokens_lost=0,
    model="big",
    weights=None,
    context_tokens=4000,
    reason="2 verified nodes",
)


@dataclass
class ScriptedLoader:
    """Hands out the engines in turn: the second after the first crashed."""

    engines: Sequence[Any]
    text: Any
    installed: bool = True
    started: int = 0

    def locate(self) -> LocatedModel:
        if not self.installed:
            raise ModelNotFound("the model is not installed", hint="lanai models pull scripted")
        return LocatedModel(name="scripted", path=Path("nowhere"), weights_sha256="ab" * 32)

    def load_text(self, model: LocatedModel) -> Any:
        return self.text

    async def start(self, model: LocatedModel) -> Any:
        engine = self.engines[min(self.started, len(self.engines) - 1)]
        self.started += 1
        return engine


@dataclass
class ScriptedStream:
    """One answer of the cloud, with what its node tells of it."""

    pieces: Sequence[Said]
    error: Exception | None
    preparation = (
        Timing(name="lanai.cloud.verify", start_us=10, duration_us=200),
        Timing(name="lanai.cloud.seal", start_us=300, duration_us=700),
    )
    final = CloudFinal(
        finish_reason="stop",
        input_tokens=21,
        output_tokens=7,
        model="big",
        timings=(
            Timing(name="lanai.node.prefill", start_us=300, duration_us=2000),
            Timing(name="lanai.node", start_us=0, duration_us=9000),
            Timing(name="lanai.node.decode", start_us=2300, duration_us=6000),
            Timing(name="a.word.of.the.node", start_us=0, duration_us=1),
        ),
    )
    receipt = Receipt(
        node="aa" * 32,
        measurement="bb" * 32,
        evidence="unsafe_software",
        log_checkpoint="cc" * 32,
        shape="padded",
    )
    disclosure = Disclosure(bytes_sent=4096, bytes_received=2048, nodes=("aa" * 32, "dd" * 32))

    async def __aiter__(self) -> AsyncIterator[Content | ToolCall]:
        for piece in self.pieces:
            await asyncio.sleep(0)
            yield piece if isinstance(piece, ToolCall) else Content(piece)
        if self.error is not None:
            raise self.error


@dataclass
class ScriptedCloud:
    """A cloud that answers with `pieces`; `refuses` at opening, `breaks` after the pieces.

    With `rounds` each request has pieces of its own; the last ones serve for all that follow.
    """

    pieces: Sequence[Said] = ("from ", "", "the cloud")
    rounds: Sequence[Sequence[Said]] = ()
    refuses: Exception | None = None
    breaks: Exception | None = None
    state: CloudStatus = READY
    at_opening: Callable[[], None] = lambda: None
    statuses: int = 0
    asked: list[CloudAsk] = field(default_factory=list)
    open_streams: int = 0

    async def status(self) -> CloudStatus:
        self.statuses += 1
        return self.state

    @asynccontextmanager
    async def open(self, ask: CloudAsk, *, deadline_s: float) -> AsyncIterator[ScriptedStream]:
        rounds = self.rounds or [self.pieces]
        pieces = rounds[min(len(self.asked), len(rounds) - 1)]
        self.asked.append(ask)
        self.at_opening()
        if self.refuses is not None:
            raise self.refuses
        self.open_streams += 1
        try:
            yield ScriptedStream(pieces, self.breaks)
        finally:
            self.open_streams -= 1

    async def close(self) -> None:
        """Nothing is open."""
