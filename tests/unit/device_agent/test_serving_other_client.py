"""`lanai serve` as a second real client sees it: the one of `huggingface_hub`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from huggingface_hub import AsyncInferenceClient
from huggingface_hub.errors import HfHubHTTPError

from device_agent.serving import LocalServer, Serving, bind
from device_agent.serving.guard import Guard

HELLO = [{"role": "user", "content": "hello"}]


@asynccontextmanager
async def opened(bench: Any) -> AsyncIterator[AsyncInferenceClient]:
    listener = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    async with bench.agent as agent:
        server = LocalServer(agent, Serving(guard=Guard(host="127.0.0.1")), listener)
        ready = asyncio.Event()
        running = asyncio.create_task(server.run(ready.set))
        await ready.wait()
        try:
            async with AsyncInferenceClient(base_url=url, api_key="none") as client:
                yield client
        finally:
            server.stop()
            await running


async def test_it_gets_an_answer_whole_and_in_pieces(make_bench) -> None:
    """Unchanged but for its base URL."""
    async with opened(make_bench()) as client:
        whole = await client.chat_completion(HELLO, model="lanai", max_tokens=40)
        assert whole.choices[0].message.content == "from the device"
        assert whole.usage.completion_tokens == len("from the device")
        pieces = await client.chat_completion(HELLO, model="lanai", stream=True)
        texts = [each.choices[0].delta.content async for each in pieces if each.choices]
    assert "".join(filter(None, texts)) == "from the device"


async def test_it_asks_for_a_form(make_bench, scripted) -> None:
    """A JSON Schema, in the shape that it sends."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form = {"type": "json_schema", "json_schema": {"name": "count", "schema": schema}}
    bench = make_bench(cloud=scripted.Cloud(pieces=('{"n"', ": 3}")))
    async with opened(bench) as client:
        answer = await client.chat_completion(HELLO, model="lanai-cloud", response_format=form)
    assert answer.choices[0].message.content == '{"n": 3}'


async def test_it_is_told_what_went_wrong(make_bench) -> None:
    """Our message, in its own error."""
    async with opened(make_bench()) as client:
        with pytest.raises(HfHubHTTPError, match="no model of this name is served"):
            await client.chat_completion(HELLO, model="gpt-4")
