"""What the client gets: OpenAI's objects, with everything of ours in one object named ``lanai``."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from device_agent.reply import Reply
from inference.engine import FinishReason
from router import Decision

__all__ = ["Chunks", "completion", "event", "headers_of", "reply_headers"]


def completion(reply: Reply[Any], *, model: str) -> dict[str, Any]:
    """A ``chat.completion``. ``model`` is the name the client asked for, as OpenAI echoes it."""
    choice = {
        "index": 0,
        "message": _answer(reply),
        "logprobs": None,
        "finish_reason": _finish(reply),
    }
    return {
        "id": _id(reply.trace_id),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "usage": usage(reply),
        "lanai": extension(reply),
    }


class Chunks:
    """The ``chat.completion.chunk`` objects of one stream; id and time are the same in each."""

    def __init__(self, *, trace_id: str, model: str, with_usage: bool) -> None:
        self._with_usage = with_usage
        self._common = {
            "id": _id(trace_id),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
        }

    def first(self, decision: Decision, trace_id: str) -> dict[str, Any]:
        """Says where the answer comes from before it comes."""
        told = _decided(decision, trace_id)
        return self._chunk({"role": "assistant", "content": ""}) | {"lanai": told}

    def text(self, text: str) -> dict[str, Any]:
        return self._chunk({"content": text})

    def last(self, reply: Reply[Any]) -> list[dict[str, Any]]:
        """Calls, the finish reason with the whole extension object, the usage when asked for."""
        calls = [{"index": i, **each} for i, each in enumerate(_calls(reply))]
        ending = [self._chunk({"tool_calls": calls})] if calls else []
        ending.append(self._chunk({}, _finish(reply)) | {"lanai": extension(reply)})
        if self._with_usage:
            ending.append(self._common | {"choices": [], "usage": usage(reply)})
        return ending

    def _chunk(self, delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        empty = {"usage": None} if self._with_usage else {}
        return self._common | {"choices": [choice]} | empty


def usage(reply: Reply[Any]) -> dict[str, int]:
    used = reply.usage
    return {
        "prompt_tokens": used.input_tokens,
        "completion_tokens": used.output_tokens,
        "total_tokens": used.input_tokens + used.output_tokens,
    }


def extension(reply: Reply[Any]) -> dict[str, Any]:
    """Source, decision, receipt (``null`` where nothing left the device), trace and speed."""
    return _decided(reply.decision, reply.trace_id) | {
        "model": reply.model,
        "fallback": reply.fallback.value if reply.fallback else None,
        "receipt": asdict(reply.receipt) if reply.receipt else None,
        "usage": asdict(reply.usage),
    }


def headers_of(decision: Decision, trace_id: str) -> dict[str, str]:
    """Known before the first character: closed words and an id."""
    return {
        "x-lanai-source": decision.destination.value,
        "x-lanai-decision": decision.reason.value,
        "x-lanai-stage": decision.stage.value,
        "x-lanai-trace-id": trace_id,
        "x-request-id": trace_id,
    }


def reply_headers(reply: Reply[Any]) -> dict[str, str]:
    """Those, and what is known once the answer is whole."""
    named = headers_of(reply.decision, reply.trace_id)
    if reply.receipt is not None:
        named |= {"x-lanai-node": reply.receipt.node, "x-lanai-evidence": reply.receipt.evidence}
    return named


def event(value: Mapping[str, Any] | str) -> bytes:
    """One server-sent event. JSON holds no line ends, so one ``data`` line is enough."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"data: {text}\n\n".encode()


def _decided(decision: Decision, trace_id: str) -> dict[str, Any]:
    return {
        "source": decision.destination.value,
        "decision": decision.to_json_dict(),
        "trace_id": trace_id,
    }


def _answer(reply: Reply[Any]) -> dict[str, Any]:
    calls = _calls(reply)
    text = str(reply.text) or (None if calls else "")
    answer = {"role": "assistant", "content": text, "refusal": None}
    return answer | ({"tool_calls": calls} if calls else {})


def _calls(reply: Reply[Any]) -> list[dict[str, Any]]:
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": str(call.arguments)},
        }
        for call in reply.tool_calls
    ]


def _finish(reply: Reply[Any]) -> str:
    if reply.tool_calls:
        return "tool_calls"
    return "length" if reply.finish_reason is FinishReason.LENGTH else "stop"


def _id(trace_id: str) -> str:
    return f"chatcmpl-{trace_id}"
