"""The child as a process: it starts clean, leaves nothing, and never outlives its parent."""

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from inference.engine import GenerateOptions, Prefilled
from inference.process import ProcessEngine
from inference.testing import write_tiny_model
from lanai.errors import (
    ConfigError,
    EngineCrashed,
    ModelFormatError,
    ModelNotFound,
    UnsupportedModel,
)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def open_files() -> int:
    gc.collect()  # what an earlier test forgot is not closed between two counts
    return len(os.listdir("/proc/self/fd"))


def children() -> set[psutil.Process]:
    """Of this process. One that an earlier test ended may still leave: compare by ``<=``."""
    return set(psutil.Process().children())


def file_of(pid: int, descriptor: str) -> str:
    return os.readlink(f"/proc/{pid}/fd/{descriptor}")


def gone(child: psutil.Process) -> bool:
    """Ended, whoever is to reap it."""
    try:
        return child.status() == psutil.STATUS_ZOMBIE or not child.is_running()
    except psutil.NoSuchProcess:
        return True


def wait_until(condition: Callable[[], bool], deadline_s: float = 30) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "not within the deadline"
        time.sleep(0.02)


async def test_close_leaves_no_process_descriptor_or_task(tiny_model: Path) -> None:
    """Everything an engine took is given back, also when requests were running."""
    files, tasks = open_files(), asyncio.all_tasks()
    engine = await ProcessEngine.start(tiny_model, context_tokens=128, threads=1)
    child = psutil.Process(engine.pid)
    await anext(engine.submit([1, 2], GenerateOptions(max_tokens=100)))
    await engine.close()
    assert not child.is_running()
    assert open_files() <= files
    assert asyncio.all_tasks() == tasks


async def test_the_child_keeps_to_itself(tiny_model: Path) -> None:
    """Of our descriptors it has one socket, its streams are /dev/null, it dumps no core.

    SIGINT, which a terminal sends to the whole group, does not end it.
    """
    secret = os.open("/proc/version", os.O_RDONLY)
    os.set_inheritable(secret, True)
    engine = await ProcessEngine.start(tiny_model, context_tokens=128, threads=1)
    try:
        child = psutil.Process(engine.pid)
        links = [file_of(engine.pid, name) for name in os.listdir(f"/proc/{engine.pid}/fd")]
        assert links.count("/dev/null") >= 3
        assert sum(link.startswith("socket:") for link in links) == 1
        assert "/proc/version" not in links
        assert str(tiny_model) not in " ".join(child.cmdline())
        assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        os.kill(engine.pid, signal.SIGINT)
        events = [event async for event in engine.submit([1], GenerateOptions(max_tokens=3))]
        assert len(events) == 5
    finally:
        os.close(secret)
        await engine.close()


@pytest.mark.parametrize(
    ("make", "error"),
    [
        pytest.param(lambda folder: None, ModelNotFound, id="nothing there"),
        pytest.param(
            lambda folder: (write_tiny_model(folder) / "config.json").write_text("{"),
            ModelFormatError,
            id="damaged",
        ),
        pytest.param(
            lambda folder: (write_tiny_model(folder) / "config.json").write_text(
                '{"model_type": "mamba", "architectures": ["MambaForCausalLM"]}'
            ),
            UnsupportedModel,
            id="another kind",
        ),
        pytest.param(write_tiny_model, ConfigError, id="context too long"),
    ],
)
async def test_a_model_that_does_not_load_says_why(
    tmp_path: Path, make: Callable[[Path], object], error: type[Exception]
) -> None:
    """Each cause is its own error with a hint, and no process is left."""
    make(tmp_path / "model")
    before = children()
    with pytest.raises(error) as caught:
        await ProcessEngine.start(tmp_path / "model", context_tokens=100_000, threads=1)
    assert getattr(caught.value, "hint", None)
    assert children() <= before


async def test_a_start_that_takes_too_long_is_given_up(tiny_model: Path) -> None:
    """The deadline raises EngineCrashed and leaves neither process nor descriptor."""
    files, before = open_files(), children()
    with pytest.raises(EngineCrashed):
        await ProcessEngine.start(tiny_model, context_tokens=128, threads=1, timeout_s=0.01)
    assert open_files() <= files
    assert children() <= before


async def test_a_cancelled_start_leaves_nothing(tiny_model: Path) -> None:
    """Cancelling while the model loads ends the child."""
    before = children()
    task = asyncio.create_task(ProcessEngine.start(tiny_model, context_tokens=128, threads=1))
    await asyncio.to_thread(wait_until, lambda: bool(children() - before))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert children() <= before


APP = """
import asyncio, sys
from pathlib import Path
from inference.engine import GenerateOptions
from inference.process import ProcessEngine
print("main runs", flush=True)
async def run():
    engine = await ProcessEngine.start(Path(sys.argv[1]), context_tokens=128, threads=1)
    events = [e async for e in engine.submit([1, 2, 3], GenerateOptions(max_tokens=2))]
    print(len(events), "torch" in sys.modules, engine.pid, flush=True)
    if sys.argv[2] == "wait":
        await asyncio.sleep(600)
    await engine.close()
asyncio.run(run())
"""


def test_an_apps_main_runs_once_and_gets_no_torch(tiny_model: Path, tmp_path: Path) -> None:
    """A script without a main guard starts an engine: nothing runs twice, no torch in the app."""
    script = tmp_path / "app.py"
    script.write_text(APP)
    done = subprocess.run(
        [sys.executable, script, tiny_model, "end"], capture_output=True, text=True, check=False
    )
    first, second = done.stdout.splitlines()
    assert first == "main runs"
    assert second.startswith("4 False ")
    assert done.stderr == ""


def test_the_child_ends_when_its_parent_is_killed(tiny_model: Path, tmp_path: Path) -> None:
    """kill -9 of the app takes the engine with it."""
    script = tmp_path / "app.py"
    script.write_text(APP)
    app = subprocess.Popen(
        [sys.executable, script, tiny_model, "wait"], stdout=subprocess.PIPE, text=True
    )
    with app, contextlib.closing(app.stdout) as out:
        assert out is not None
        out.readline()
        child = psutil.Process(int(out.readline().split()[2]))
        app.kill()
        wait_until(lambda: gone(child))


async def test_the_working_folder_is_no_place_for_code(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A torch.py lying in the current folder is not imported by the child."""
    (tmp_path / "torch.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    engine = await ProcessEngine.start(tiny_model, context_tokens=128, threads=1)
    assert isinstance(await anext(engine.submit([1], GenerateOptions(max_tokens=1))), Prefilled)
    await engine.close()
