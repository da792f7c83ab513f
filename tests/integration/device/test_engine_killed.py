"""The shipped model's engine under kill -9: its request fails, the app goes on."""

import contextlib
import os
import signal
from pathlib import Path

import psutil
import pytest

from device_agent import AsyncAgent, Options
from lanai.errors import EngineCrashed
from lanai.folders import Folders

MODEL = "smollm2-135m-instruct"
QUESTION = "What is the capital of Australia?"


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    models = Folders.standard().models
    if not (models / MODEL / "lanai.json").is_file():
        pytest.fail(f"{MODEL} is not installed; run `lanai models pull {MODEL}`")
    (tmp_path / "models").symlink_to(models)
    return Folders.below(tmp_path)


async def test_a_killed_engine_costs_one_request(folders) -> None:
    """Typed, the transcript as before; the same session's next prompt gets a new engine."""
    async with AsyncAgent.from_config(folders=folders, device_model=MODEL) as agent:
        session = agent.session(mode="only_on_device")
        async with session.stream("Count to 500.", options=Options(max_tokens=500)) as stream:
            await anext(stream)
            (engine,) = engines()
            os.kill(engine, signal.SIGKILL)
            with pytest.raises(EngineCrashed):
                await _rest(stream)
        assert session.transcript == ()
        reply = await session.respond(QUESTION)
        assert reply.text == "The capital of Australia is Canberra."
        assert len(engines() - {engine}) == 1
    assert engines() == set()


def engines() -> set[int]:
    """Engines of this process, whatever else it has started."""
    found = set()
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "inference.child" in child.cmdline():
                found.add(child.pid)
    return found


async def _rest(stream: object) -> None:
    async for _ in stream:  # type: ignore[attr-defined]
        pass
