"""An engine's requests name adapters: each gets the model it asked for, or a typed error."""

import socket
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
import pytest_asyncio

from inference.adapters import Base
from inference.architectures import DecoderConfig
from inference.catalog import Catalog
from inference.catalog.adapting import install_adapted
from inference.engine import GenerateOptions, Token
from inference.process import ProcessEngine
from inference.testing.random_adapter import write_random_adapter
from lanai.errors import AdapterError, AdapterFault, UsageError

PROMPT = list(range(20))
WEIGHTS = "e" * 64


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, tiny_settings: DecoderConfig) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    own = Base(name="tiny", architecture="llama", sha256=WEIGHTS)
    for seed, name in enumerate(("one", "two")):
        write_random_adapter(folder / name, tiny_settings, base=own, seed=seed)
    other = Base(name="tiny-2", architecture="llama", sha256="f" * 64)
    write_random_adapter(folder / "other", tiny_settings, base=other)
    return folder


@pytest_asyncio.fixture
async def engine(tiny_base: Path, shelf: Path) -> AsyncIterator[ProcessEngine]:
    started = await ProcessEngine.start(
        tiny_base, context_tokens=128, threads=1, weights_sha256=WEIGHTS, adapters=shelf
    )
    yield started
    await started.close()


async def answer(engine: ProcessEngine, adapter: str | None) -> list[int]:
    options = GenerateOptions(max_tokens=8)
    async with aclosing(engine.submit(PROMPT, options, adapter=adapter)) as events:
        return [event.id async for event in events if isinstance(event, Token)]


async def test_requests_take_turns_with_adapters(engine: ProcessEngine, shelf: Path) -> None:
    """Three models in one engine, in any order; the child says it takes adapters."""
    assert engine.info.adapters
    first = {name: await answer(engine, name) for name in (None, "one", "two")}
    assert len({tuple(ids) for ids in first.values()}) == 3
    for name in ("two", None, "one", "two"):
        assert await answer(engine, name) == first[name]
    for name, fault in (
        ("nobody", AdapterFault.NOT_FOUND),
        ("other", AdapterFault.WRONG_BASE),
    ):
        with pytest.raises(AdapterError) as caught:
            await answer(engine, name)
        assert caught.value.fault is fault
        assert caught.value.hint
    with pytest.raises(UsageError):
        engine.submit(PROMPT, GenerateOptions(max_tokens=1), adapter="../one")
    assert await answer(engine, None) == first[None]


async def test_an_engine_without_adapters_refuses_them(tiny_base: Path, shelf: Path) -> None:
    """In the app; and a worker that asks a node's engine all the same is cut off."""
    out_end, in_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with out_end:
        with in_end:
            engine = await ProcessEngine.start(tiny_base, context_tokens=64, threads=1, door=in_end)
        assert not engine.info.adapters
        with pytest.raises(UsageError):
            engine.submit(PROMPT, GenerateOptions(max_tokens=1), adapter="one")
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(out_end, [b"\0"], [theirs.fileno()])
        _ask_rudely(ours)
        await engine.close()


def _ask_rudely(end: socket.socket) -> None:
    import numpy as np

    from inference.dialogue import Submission
    from inference.wire import encode

    order = Submission(
        request_id="1",
        prompt=np.arange(4, dtype=np.int32),
        options=GenerateOptions(max_tokens=1),
        constrained=False,
        adapter="one",
    )
    with end:
        end.settimeout(20)
        end.sendall(encode(order.to_message()))
        assert end.recv(1) == b""


async def test_a_damaged_adapter_fails_its_request_alone(
    tiny_base: Path, tiny_settings: DecoderConfig, tmp_path: Path
) -> None:
    """The closed word travels; the engine lives."""
    write_random_adapter(
        tmp_path / "bad", tiny_settings, base=Base(name="Tiny", architecture="llama")
    )
    (tmp_path / "bad" / "adapter_model.safetensors").write_bytes(b"x" * 100)
    engine = await ProcessEngine.start(tiny_base, context_tokens=64, threads=1, adapters=tmp_path)
    try:
        with pytest.raises(AdapterError) as caught:
            await answer(engine, "bad")
        assert caught.value.fault is AdapterFault.DAMAGED
        assert await answer(engine, None)
    finally:
        await engine.close()


async def test_a_confined_engine_runs_a_model_with_an_adapter_of_its_own(
    tiny_base: Path, tiny_settings: DecoderConfig, tmp_path: Path
) -> None:
    """As a node starts it: an empty environment, a door, and no file but the model's."""
    model = Catalog(tmp_path / "models").pull(str(tiny_base))
    write_random_adapter(
        tmp_path / "chat", tiny_settings, base=Base(name="tiny", architecture="llama")
    )
    adapted = install_adapted(tmp_path / "models", model, tmp_path / "chat", "tiny-chat")
    out_end, in_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    answers = []
    with out_end, in_end:
        for path in (adapted.path, model.path):
            engine = await ProcessEngine.start(
                path, context_tokens=64, threads=1, door=in_end, environment={}
            )
            answers.append(await answer(engine, None))
            await engine.close()
    assert answers[0] != answers[1]
