"""A disk without room, in a process of its own: answers come, losses are counted."""

import json
import subprocess
import sys

APP = """
import asyncio, json, pathlib, resource, signal, sys
from device_agent.testing import FakeAgent
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

async def main():
    async with FakeAgent(pathlib.Path(sys.argv[1]), ["an answer"]) as agent:
        for _ in range(3):
            await agent.session().respond("hello")
        stored = agent.traces_lost
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        said = [(await agent.session().respond("hello")).text for _ in range(5)]
        lost = agent.traces_lost
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        await agent.session().respond("hello")
        print(json.dumps([stored, said, lost, agent.traces_lost]))

asyncio.run(main())
"""


def test_a_full_disk_costs_traces_not_answers(tmp_path) -> None:
    """Each lost trace is counted; with room again traces are stored again."""
    done = subprocess.run(
        [sys.executable, "-c", APP, str(tmp_path)], capture_output=True, text=True, check=True
    )
    stored, said, lost, after = json.loads(done.stdout)
    assert stored == 0
    assert said == ["an answer"] * 5
    assert lost == after == 5
    assert "a trace was not stored" in done.stderr
