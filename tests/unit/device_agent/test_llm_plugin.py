"""`llm -m lanai`, with the real `llm` package."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import llm
import pytest

from device_agent.blocking import Agent
from device_agent.llm_plugin import AsyncLanai, Lanai


def test_llm_finds_the_plug_in(tmp_path: Path) -> None:
    """By its entry point, in a process of its own."""
    assert entry_points(group="llm")["lanai"].load().__name__ == "device_agent.llm_plugin"
    done = subprocess.run(
        [sys.executable, "-m", "llm", "models", "list"],
        env={"LLM_USER_PATH": str(tmp_path), "LLM_LOAD_PLUGINS": "lanai"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "lanai" in done.stdout


def test_a_conversation_runs_through_llm(make_bench) -> None:
    """Options, instructions and earlier turns arrive; counts and decision come back."""
    benches = [make_bench(), make_bench()]
    left = iter(benches)
    model = Lanai(lambda: Agent(next(left).agent))
    conversation = model.conversation()
    first = conversation.prompt("one", system="be brief", max_tokens=4)
    assert first.text() == "from"
    second = conversation.prompt("two")
    assert "".join(second) == "from the device"
    ids, _ = benches[1].engine.seen[0]
    said = "".join(map(chr, ids))
    assert said == "system: be brief\nuser: one\nassistant: from\nuser: two\n"
    assert second.input_tokens == len(said)
    assert second.response_json["lanai"]["source"] == "device"
    assert "text" not in second.response_json["lanai"]
    assert all(bench.engine.closed for bench in benches)


async def test_the_async_model_does_the_same(make_bench) -> None:
    """In the caller's own event loop."""
    bench = make_bench()
    model = AsyncLanai(lambda: bench.agent)
    assert await model.prompt("one").text() == "from the device"
    assert bench.engine.closed


def test_errors_are_llms_own_and_hold_our_hint(make_bench) -> None:
    """So that its command prints one line."""
    model = Lanai(lambda: Agent(make_bench(installed=False).agent))
    with pytest.raises(llm.ModelError, match="hint: lanai models pull scripted"):
        model.prompt("one").text()
    with pytest.raises(llm.ModelError, match="temperature"):
        Lanai(lambda: Agent(make_bench().agent)).prompt("one", temperature=9.0).text()
