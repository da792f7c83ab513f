"""The setting `cloud_stream_shape`, from the user's file to the request and the receipt."""

from dataclasses import replace
from pathlib import Path

import pytest

from device_agent import AsyncAgent, Mode
from lanai.errors import ConfigError
from lanai.folders import Folders


def folders_of(tmp_path: Path) -> Folders:
    return Folders.standard({"LANAI_HOME": str(tmp_path)})


@pytest.mark.parametrize("shape", ["padded", "constant"])
async def test_the_setting_is_what_the_request_asks_for(
    make_bench, scripted, tmp_path: Path, shape: str
) -> None:
    """The agent asks for the set shape with each cloud request."""
    cloud = scripted.Cloud()
    agent = make_bench(cloud=cloud).agent
    async with AsyncAgent.from_config(folders=folders_of(tmp_path), cloud_stream_shape=shape) as of:
        configured = of._runtime.cloud_stream_shape
    agent._runtime = replace(agent._runtime, cloud_stream_shape=configured)
    async with agent:
        await agent.session(mode=Mode.ONLY_IN_CLOUD).respond("hello")
    assert [ask.shape for ask in cloud.asked] == [shape]


async def test_the_receipt_says_the_shape(make_bench, scripted) -> None:
    """What the client says of an answer's shape is on the reply's receipt."""
    async with make_bench(cloud=scripted.Cloud()).agent as agent:
        reply = await agent.session(mode=Mode.ONLY_IN_CLOUD).respond("hello")
    assert reply.to_json_dict()["receipt"]["shape"] == "padded"


async def test_another_word_is_refused(tmp_path: Path) -> None:
    """A shape that is none is a `ConfigError`, not a lesser protection."""
    with pytest.raises(ConfigError):
        AsyncAgent.from_config(folders=folders_of(tmp_path), cloud_stream_shape="plain")
