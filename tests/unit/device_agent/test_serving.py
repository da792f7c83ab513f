"""`lanai serve` as its clients see it: the real `openai` library, and plain HTTP."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
import pytest

from device_agent.serving import LocalServer, Serving, bind
from device_agent.serving.guard import Guard
from lanai.errors import CloudUnavailable, ConfigError, EvidenceRejected, Rejection

HELLO = [{"role": "user", "content": "hello"}]


@dataclass
class Served:
    """A running server and how to reach it."""

    url: str
    server: LocalServer

    def openai(self, **options: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            base_url=f"{self.url}/v1", **{"api_key": "none", "max_retries": 0} | options
        )

    def http(self, **options: Any) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.url, trust_env=False, **options)


@asynccontextmanager
async def served(bench: Any, **serving: Any) -> AsyncIterator[Served]:
    """The bench's agent behind a real socket of this machine, for as long as the block lasts."""
    guard = Guard(host="127.0.0.1", **serving.pop("guard", {}))
    listener = bind("127.0.0.1", 0)
    async with bench.agent as agent:
        server = LocalServer(agent, Serving(guard=guard, **serving), listener)
        ready = asyncio.Event()
        running = asyncio.create_task(server.run(ready.set))
        await ready.wait()
        try:
            yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", server)
        finally:
            server.stop()
            await running


@asynccontextmanager
async def opened(bench: Any, **serving: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    async with served(bench, **serving) as running, running.openai() as client:
        yield client


async def test_the_openai_library_gets_an_answer(make_bench) -> None:
    """Text, usage and finish reason where OpenAI has them; ours in `lanai` and in headers."""
    bench = make_bench()
    async with opened(bench) as client:
        raw = await client.chat.completions.with_raw_response.create(model="lanai", messages=HELLO)
    answer = raw.parse()
    assert answer.choices[0].message.content == "from the device"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens == len("user: hello\n")
    assert answer.usage.completion_tokens == len("from the device")
    told = answer.model_extra["lanai"]
    assert (told["source"], told["receipt"]) == ("device", None)
    assert told["decision"]["reason"] == raw.headers["x-lanai-decision"] == "cloud_not_configured"
    assert raw.headers["x-lanai-source"] == "device"
    assert raw.headers["x-lanai-trace-id"] == told["trace_id"] == answer._request_id
    assert bench.store is not None


async def test_a_stream_says_its_source_first_and_its_receipt_last(make_bench, scripted) -> None:
    """The pieces joined are the answer; the last chunk has the receipt, then comes the usage."""
    bench = make_bench(cloud=scripted.Cloud())
    async with opened(bench) as client:
        stream = await client.chat.completions.create(
            model="lanai-cloud",
            messages=HELLO,
            stream=True,
            stream_options={"include_usage": True},
        )
        assert stream.response.headers["x-lanai-source"] == "cloud"
        chunks = [chunk async for chunk in stream]
    texts = [c.choices[0].delta.content for c in chunks if c.choices]
    assert "".join(filter(None, texts)) == "from the cloud"
    assert chunks[0].model_extra["lanai"]["source"] == "cloud"
    ending, usage = chunks[-2:]
    assert ending.choices[0].finish_reason == "stop"
    assert ending.model_extra["lanai"]["receipt"]["node"] == "aa" * 32
    assert usage.usage.total_tokens == 28
    assert len({chunk.id for chunk in chunks}) == 1


async def test_raw_events_are_what_the_standard_says(make_bench) -> None:
    """One `data:` line an event, a blank line after it, `[DONE]` at the end."""
    async with served(make_bench()) as running, running.http() as client:
        body = {"model": "lanai", "messages": HELLO, "stream": True}
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            text = (await answer.aread()).decode()
    events = text.split("\n\n")
    assert events.pop() == ""
    assert all(each.startswith("data: ") and "\n" not in each for each in events)
    assert events[-1] == "data: [DONE]"
    assert json.loads(events[0].removeprefix("data: "))["object"] == "chat.completion.chunk"


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
async def test_no_role_that_a_client_names_passes_the_guard(make_bench, role) -> None:
    """Over the wire nothing is the app's own word: with `guard_prompts` all of it is looked at."""
    bench = make_bench(guard_prompts=True)
    said = [{"role": role, "content": "How can I kill a person?"}, *HELLO]
    async with opened(bench) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model="lanai", messages=said)
        assert caught.value.code == "content_filter"
        assert bench.engine.seen == []
        said[0]["content"] = "How can I kill a Python process?"
        await client.chat.completions.create(model="lanai", messages=said)


async def test_what_a_client_asks_reaches_the_engine(make_bench) -> None:
    """Earlier turns, the newer name of `system`, parts of text, sampling, length and stop."""
    bench = make_bench()
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "o"}, {"type": "text", "text": "k"}]},
        {"role": "assistant", "content": "yes", "refusal": None},
        {"role": "user", "content": "go"},
    ]
    async with opened(bench) as client:
        answer = await client.chat.completions.create(
            model="lanai",
            messages=messages,
            max_completion_tokens=9,
            temperature=0.5,
            top_p=0.9,
            seed=4,
            stop=" the",
            user="ignored",
            extra_body={"lanai": {"top_k": 3}},
        )
    ids, options = bench.engine.seen[0]
    assert "".join(map(chr, ids)) == "system: be brief\nuser: ok\nassistant: yes\nuser: go\n"
    sampling = options.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.seed) == (0.5, 0.9, 3, 4)
    assert options.max_tokens == 9
    assert answer.choices[0].message.content == "from"


async def test_the_name_of_the_model_or_the_extension_says_where(make_bench, scripted) -> None:
    """`lanai-device`, a secret and a missing consent stay here; none is even asked of the cloud."""
    bench = make_bench(cloud=scripted.ForbiddenCloud())
    ways = [
        {"model": "lanai-device"},
        {"model": "lanai", "extra_body": {"lanai": {"data_class": "secret"}}},
        {"model": "lanai", "extra_body": {"lanai": {"consent": False}}},
        {"model": "lanai", "extra_body": {"lanai": {"mode": "only_on_device"}}},
    ]
    async with opened(bench) as client:
        for way in ways:
            answer = await client.chat.completions.create(messages=HELLO, **way)
            assert answer.model_extra["lanai"]["source"] == "device"


@pytest.mark.parametrize(
    ("wish", "param", "code"),
    [
        ({"n": 2}, "n", "unsupported_parameter"),
        ({"logprobs": True}, "logprobs", "unsupported_parameter"),
        ({"presence_penalty": 1.0}, "presence_penalty", "unsupported_parameter"),
        ({"extra_body": {"no_such": 1}}, "no_such", "unsupported_parameter"),
        ({"extra_body": {"lanai": {"no_such": 1}}}, "lanai.no_such", "unsupported_parameter"),
        ({"temperature": "hot"}, "temperature", "invalid_value"),
        ({"temperature": 9.0}, None, "UsageError"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens", "unsupported_parameter"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0", "invalid_value"),
        (
            {"messages": [{"role": "assistant", "content": "x"}]},
            "messages",
            "unsupported_parameter",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.user.content.str",
            "invalid_value",
        ),
    ],
)
async def test_no_wish_is_dropped_in_silence(make_bench, wish, param, code) -> None:
    """What is unknown, unsupported or out of range is a typed 400 that names the field."""
    bench = make_bench()
    async with opened(bench) as client:
        with pytest.raises(openai.BadRequestError) as raised:
            await client.chat.completions.create(**{"model": "lanai", "messages": HELLO} | wish)
    assert (raised.value.param, raised.value.code) == (param, code)
    assert raised.value.type == "invalid_request_error"
    assert bench.engine.seen == []


async def test_models_and_health(make_bench) -> None:
    """The names a client may use; and 503 with the reasons when nothing can answer."""
    async with served(make_bench()) as running, running.openai() as client:
        assert [m.id async for m in client.models.list()] == [
            "lanai",
            "lanai-device",
            "lanai-cloud",
        ]
        assert (await client.models.retrieve("lanai")).owned_by == "lanai"
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("gpt")
        with pytest.raises(openai.NotFoundError) as raised:
            await client.chat.completions.create(model="gpt", messages=HELLO)
        assert raised.value.code == "model_not_found"
        async with running.http() as http:
            health = await http.get("/health")
            assert (health.status_code, health.json()["device"]["ready"]) == (200, True)
            assert (await http.get("/v1/nothing")).status_code == 404
            assert (await http.get("/v1/chat/completions")).status_code == 405


@pytest.mark.parametrize(
    ("bench", "model", "status", "code", "retry"),
    [
        ({"installed": False}, "lanai", 503, "ModelNotFound", "false"),
        ({}, "lanai-cloud", 422, "cloud_not_configured", "false"),
        ({"refuses": CloudUnavailable("gone")}, "lanai-cloud", 503, "CloudUnavailable", "true"),
        (
            {"refuses": EvidenceRejected("no", reason=Rejection.MEASUREMENT)},
            "lanai-cloud",
            502,
            "measurement",
            "false",
        ),
    ],
)
async def test_errors_have_a_type_a_status_and_say_whether_to_retry(
    make_bench, scripted, bench, model, status, code, retry
) -> None:
    """So that a client's library neither gives up too early nor knocks in vain."""
    refuses = bench.pop("refuses", None)
    cloud = scripted.Cloud(refuses=refuses) if refuses else None
    async with opened(make_bench(cloud=cloud, **bench)) as client:
        with pytest.raises(openai.APIStatusError) as raised:
            await client.chat.completions.create(model=model, messages=HELLO, stream=True)
    assert (raised.value.status_code, raised.value.code) == (status, code)
    assert raised.value.response.headers["x-should-retry"] == retry


async def test_an_answer_too_long_for_the_context_says_so(make_bench) -> None:
    """With OpenAI's own code, which clients look for."""
    async with opened(make_bench()) as client:
        with pytest.raises(openai.BadRequestError) as raised:
            await client.chat.completions.create(
                model="lanai", messages=[{"role": "user", "content": "x" * 500}]
            )
    assert raised.value.code == "context_length_exceeded"


async def test_an_error_after_the_first_character_ends_the_stream(make_bench, scripted) -> None:
    """It is the last event; there is no `[DONE]`; the next request works on a new engine."""
    bench = make_bench(engines=[scripted.Engine(crash_after=3), scripted.Engine()])
    async with opened(bench) as client:
        stream = await client.chat.completions.create(model="lanai", messages=HELLO, stream=True)
        pieces: list[str] = []
        with pytest.raises(openai.APIError) as raised:
            await _collect(stream, pieces)
        again = await client.chat.completions.create(model="lanai", messages=HELLO)
    assert "".join(pieces) == "fro"
    assert raised.value.code == "EngineCrashed"
    assert again.choices[0].message.content == "from the device"


async def _collect(stream: Any, pieces: list[str]) -> None:
    async for chunk in stream:
        pieces.append(chunk.choices[0].delta.content)  # noqa: PERF401  what came before an error


def _gated(scripted: Any) -> tuple[Any, asyncio.Event]:
    """An engine that waits for the event after its first token."""
    gate = asyncio.Event()

    class Gated(scripted.Engine):  # type: ignore[name-defined,misc]
        async def submit(self, ids: Any, options: Any, **rest: Any) -> AsyncIterator[Any]:
            async with contextlib.aclosing(super().submit(ids, options, **rest)) as events:
                async for event in events:
                    yield event
                    if hasattr(event, "id"):
                        await gate.wait()

    return Gated(), gate


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0)


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_client_that_leaves_ends_the_work(make_bench, scripted, streamed) -> None:
    """Also when its answer was not to be streamed; its place is free again."""
    engine, _ = _gated(scripted)
    bench = make_bench(engines=[engine])
    async with served(bench, most_requests=1) as running, running.openai() as client:
        asking = asyncio.create_task(
            client.chat.completions.create(model="lanai", messages=HELLO, stream=streamed)
        )
        if streamed:
            await (await asking).close()
        else:
            await _until(lambda: engine.running == 1)
            asking.cancel()
        await _until(lambda: engine.cancelled == 1 and engine.running == 0)
        async with running.http() as http:
            await _until_free(http)


async def _until_free(http: httpx2.AsyncClient) -> None:
    while (await http.get("/health")).json()["running"]:
        pass


async def test_who_finds_no_place_is_told_to_come_again(make_bench, scripted) -> None:
    """429 at once, with `retry-after`; when the place is free the same request is answered."""
    engine, gate = _gated(scripted)
    body = {"model": "lanai", "messages": HELLO}
    async with (
        served(make_bench(engines=[engine]), most_requests=1) as running,
        running.http() as http,
    ):
        first = asyncio.create_task(http.post("/v1/chat/completions", json=body))
        await _until(lambda: engine.running == 1)
        refused = await http.post("/v1/chat/completions", json=body)
        gate.set()
        await first
        assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json()["error"]["type"] == "rate_limit_error"


async def test_a_stop_lets_what_runs_end(make_bench, scripted) -> None:
    """The open answer comes whole; nobody new is heard."""
    engine, gate = _gated(scripted)
    async with served(make_bench(engines=[engine])) as running, running.openai() as client:
        asking = asyncio.create_task(client.chat.completions.create(model="lanai", messages=HELLO))
        await _until(lambda: engine.running == 1)
        running.server.stop()
        gate.set()
        assert (await asking).choices[0].message.content == "from the device"


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"host": "evil.example"}, 421, "unknown_host"),
        ({"host": "127.0.0.1.evil.example:80"}, 421, "unknown_host"),
        ({"host": ""}, 421, "unknown_host"),
        ({"origin": "http://evil.example"}, 403, "origin_not_allowed"),
        ({"origin": "null"}, 403, "origin_not_allowed"),
        ({"content-type": "text/plain"}, 415, "unsupported_media_type"),
        ({"host": "localhost:1"}, 200, None),
    ],
)
async def test_no_web_page_speaks_to_it(make_bench, headers, status, code) -> None:
    """Rebound names, foreign origins, and the body type a page may send without asking."""
    bench = make_bench()
    async with served(bench) as running, running.http() as client:
        content = json.dumps({"model": "lanai", "messages": HELLO})
        headers = {"content-type": "application/json"} | headers
        answer = await client.post("/v1/chat/completions", content=content, headers=headers)
    assert answer.status_code == status
    if code:
        assert answer.json()["error"]["code"] == code
        assert bench.engine.seen == []


async def test_an_allowed_origin_is_answered_with_its_name(make_bench) -> None:
    """Preflight needs no key, the request does; another origin is refused as ever."""
    page, key = "http://localhost:8000", "k" * 32
    guard = {"origins": frozenset({page}), "key": key}
    async with served(make_bench(), guard=guard) as running, running.http() as client:
        asked = {"origin": page, "access-control-request-method": "POST"}
        preflight = await client.options("/v1/chat/completions", headers=asked)
        refused = await client.get("/v1/models", headers={"origin": page})
        bearer = {"origin": page, "authorization": f"Bearer {key}"}
        models = await client.get("/v1/models", headers=bearer)
        other = await client.get("/v1/models", headers=bearer | {"origin": "http://localhost"})
    assert preflight.headers["access-control-allow-origin"] == page
    assert refused.status_code == 401
    assert models.headers["access-control-allow-origin"] == page
    assert other.status_code == 403


async def test_the_key_is_what_the_openai_library_sends(make_bench) -> None:
    """As `api_key`; a wrong one is an authentication error there."""
    guard = {"key": "k" * 32}
    async with served(make_bench(), guard=guard) as running:
        async with running.openai(api_key="k" * 32) as client:
            await client.chat.completions.create(model="lanai", messages=HELLO)
        async with running.openai() as client:
            with pytest.raises(openai.AuthenticationError):
                await client.chat.completions.create(model="lanai", messages=HELLO)


async def _chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * 1024


async def test_a_body_has_a_limit_however_it_is_sent(make_bench) -> None:
    """By its declared length, or once too much has come."""
    async with served(make_bench(), most_bytes=4096) as running, running.http() as client:
        json_type = {"content-type": "application/json"}
        declared = await client.post("/v1/chat/completions", content=b" " * 5000, headers=json_type)
        chunked = await client.post("/v1/chat/completions", content=_chunks(5), headers=json_type)
    assert (declared.status_code, chunked.status_code) == (413, 413)


async def test_logs_hold_no_content(make_bench, scripted, caplog) -> None:
    """Not of a request that works, of one that is refused, nor of one that breaks."""
    caplog.set_level(0)
    bench = make_bench(engines=[scripted.Engine(answer="kestrel", crash_after=3)])
    async with opened(bench) as client:
        for body in ({}, {"temperature": 9.0}, {"extra_body": {"stream": "osprey"}}):
            with pytest.raises(openai.APIError):
                await client.chat.completions.create(
                    model="lanai", messages=[{"role": "user", "content": "osprey"}], **body
                )
    ours = [r for r in caplog.records if not r.name.startswith(("openai", "httpx", "httpcore"))]
    assert ours
    assert not [r for r in ours if "osprey" in r.getMessage() or "kes" in r.getMessage()]


async def test_a_fault_of_ours_says_nothing_of_what_it_held(
    make_bench, caplog, monkeypatch
) -> None:
    """A typed 500 for the client, the exception's type for the log; the server goes on."""
    caplog.set_level(0)
    bench = make_bench()

    async def fail() -> None:
        raise KeyError("osprey")

    async with served(bench) as running, running.http() as client:
        monkeypatch.setattr(bench.agent, "availability", fail)
        answer = await client.get("/health")
        assert (await client.get("/v1/models")).status_code == 200
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert "osprey" not in answer.text + caplog.text
    assert "a fault in the server: KeyError" in caplog.text


def test_leaving_loopback_needs_a_key_and_one_address() -> None:
    """Refused before anything is bound."""
    for wrong in ({"host": "192.0.2.1"}, {"host": "::", "key": "k" * 32}, {"host": "name"}):
        with pytest.raises(ConfigError):
            Guard(**wrong)
    with pytest.raises(ConfigError):
        Guard(host="127.0.0.1", origins=frozenset({"http://localhost/page"}))
    assert Guard(host="192.0.2.1", key="k" * 32)
    assert "kkkk" not in repr(Guard(host="192.0.2.1", key="k" * 32))
