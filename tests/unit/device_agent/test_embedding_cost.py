"""What an app pays for having the SDK in it."""

import os
import subprocess
import sys

WATCH = """
import sys
touched = []
WATCHED = ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.fork",
           "os.posix_spawn", "_thread.start_new_thread")
def watch(event, arguments):
    if event.startswith(WATCHED):
        touched.append(event)
sys.addaudithook(watch)
import device_agent
for name in device_agent.__all__:
    getattr(device_agent, name)
print(*touched)
"""

THREADS = """
import asyncio, os, pathlib, sys, threading
import psutil
from device_agent import Agent, AsyncAgent
from lanai.folders import Folders
folders = Folders.below(pathlib.Path(sys.argv[1]))
async def main():
    async with AsyncAgent.from_config(folders=folders) as agent:
        await agent.availability()
asyncio.run(main())
with Agent.from_config(folders=folders) as agent:
    agent.availability()
while psutil.Process().num_threads() > 1:  # a joined thread is still on its way out
    os.sched_yield()
print(threading.active_count(), len(psutil.Process().children()))
"""


def run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    # numpy's BLAS keeps a thread for each core from its import on; the count is of all others.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_importing_touches_no_network_and_starts_nothing() -> None:
    """No socket, no child, no thread, not even when every public name is loaded."""
    assert run(WATCH).split() == []


def test_nothing_is_left_after_close(tmp_path) -> None:
    """One thread, counted by Python and by the kernel, and no child."""
    assert run(THREADS, str(tmp_path)).split() == ["1", "0"]
