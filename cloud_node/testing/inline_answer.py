"""The worker's steps over an engine of this process, without a worker."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from cloud_node.tree.answering import Answering
from cloud_node.tree.request import AskedFor
from cloud_node.tree.timeline import Timeline
from cloud_node.tree.worker import Room
from inference.engine import Engine
from protos.lanai.v1alpha.envelope_pb2 import AnswerFrame

__all__ = ["inline_frames"]


async def inline_frames(room: Room, engine: Engine, asked: AskedFor) -> AsyncIterator[AnswerFrame]:
    """Frames of one answer; the last has ``final``. Closing it cancels the engine's work."""
    answering = Answering(
        room.text,
        asked,
        Timeline(),
        model=room.model,
        context_tokens=room.context_tokens,
        guide=room.guide,
    )
    ids = answering.start(engine.info.vocabulary)
    stream = engine.submit(ids, answering.options, constraint=answering.constraint)
    async with aclosing(stream) as events:
        async for event in events:
            for frame in answering.take(event):
                yield frame
            if answering.finished:
                return
