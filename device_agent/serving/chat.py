"""``POST /v1/chat/completions``.

1. Read the body, then the request in it.
2. Take a place, or tell the client to come again.
3. Ask the agent. The head of the answer waits for the first piece of text: until then an error
   still is an HTTP status, and then it is known where the answer comes from.
4. Send the answer, whole or piece by piece. When the client goes, the work is cancelled.
"""

import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from device_agent.agent import AsyncAgent
from device_agent.reply import Reply, TextEvent
from device_agent.serving.answers import Chunks, completion, event, headers_of, reply_headers
from device_agent.serving.connection import Gone, Sender, read_body, while_connected
from device_agent.serving.conversation import Call, call_of
from device_agent.serving.places import Places
from device_agent.serving.problems import Problem, problem_of
from device_agent.serving.wire import ChatRequest, read_request
from device_agent.session import AsyncStream
from lanai.errors import EngineError, LanaiError

__all__ = ["ChatCompletions", "send_problem"]

log = logging.getLogger(__name__)


class ChatCompletions:
    """An ASGI application of one route."""

    def __init__(self, agent: AsyncAgent, places: Places, *, most_bytes: int) -> None:
        self._agent = agent
        self._places = places
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sender = Sender(send)
        try:
            # 1. Body and request.
            body = await read_body(receive, Headers(scope=scope), most_bytes=self._most_bytes)
            request = read_request(body)
            call = call_of(request)
            # 2. Place.
            with self._places.take():
                await while_connected(receive, self._answer(request, call, sender))
        except Gone:
            log.info("a client went away; its request was cancelled")
        except LanaiError as error:
            await _fail(sender, problem_of(error))

    async def _answer(self, request: ChatRequest, call: Call, sender: Sender) -> None:
        # 3. The agent.
        async with self._stream(call) as stream:
            if request.stream:
                await _send_pieces(request, stream, sender)
            else:
                async for _ in stream:
                    pass
        # 4. The whole answer.
        if not request.stream:
            await _send_whole(completion(stream.final, model=request.model), stream.final, sender)

    def _stream(self, call: Call) -> AsyncStream[Any]:
        """Raises ``UsageError`` for a schema or tools that no answer can follow."""
        # Whatever role it names, all of it is what a client says.
        rails = replace(self._agent.guardrails, whole_history=True)
        session = self._agent.session(guardrails=rails)
        session.restore(call.messages)
        return session.stream(None, into=call.into, **call.asking)


async def send_problem(problem: Problem, sender: Sender) -> None:
    """The problem as a whole answer."""
    log.info("refused: %d %s", problem.status, problem.code)
    body = json.dumps(problem.to_json_dict(), ensure_ascii=False).encode()
    await sender.whole(problem.status, body, problem.headers())


async def _send_whole(document: dict[str, Any], reply: Reply[Any], sender: Sender) -> None:
    body = json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    await sender.whole(200, body, reply_headers(reply))


async def _send_pieces(request: ChatRequest, stream: AsyncStream[Any], sender: Sender) -> None:
    """Head, first chunk, text, last chunk; then ``[DONE]``."""
    events = aiter(stream)
    first = await anext(events, None)
    if stream.decision is None:
        raise EngineError("an answer came before its decision")
    wanted = request.stream_options
    chunks = Chunks(
        trace_id=stream.trace_id,
        model=request.model,
        with_usage=wanted is not None and wanted.include_usage,
    )
    headers = headers_of(stream.decision, stream.trace_id)
    await sender.begin(200, "text/event-stream; charset=utf-8", headers)
    await sender.piece(event(chunks.first(stream.decision, stream.trace_id)))
    async for piece in _from(first, events):
        if piece.text:
            await sender.piece(event(chunks.text(piece.text)))
    # The reply is there once the stream was read to its end.
    for chunk in chunks.last(stream.final):
        await sender.piece(event(chunk))
    await sender.piece(event("[DONE]"))
    await sender.end()


async def _from(
    first: TextEvent | None, rest: AsyncIterator[TextEvent]
) -> AsyncIterator[TextEvent]:
    if first is not None:
        yield first
        async for each in rest:
            yield each


async def _fail(sender: Sender, problem: Problem) -> None:
    """After the head was sent an error is the stream's last event, as OpenAI sends it."""
    if not sender.begun:
        await send_problem(problem, sender)
        return
    log.info("broke off: %s", problem.code)
    await sender.piece(event(problem.to_json_dict()))
    await sender.end()
