"""``make demo``: a local development cluster, real requests to both sides, and what each one tells.

    1. Start a cluster named `demo` with `lanai cloud up`, when the cloud extra is installed.
    2. Ask: some requests stay on the device, some leave by a named rule or by the app's wish.
    3. Print each answer with its source, its decision and its receipt; then times, trace, ledger.
    4. Stop what was started, also after an error or Ctrl-C.

Nothing is canned: models, cluster, evidence checks and answers are what apps get.
"""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

import click

from device_agent.agent import AsyncAgent
from device_agent.demo_telling import WIDTH, summary, told, wrapped
from device_agent.options import Options
from device_agent.reply import Reply
from lanai.cli.output import complain, say
from lanai.errors import CloudUnavailable, LanaiError
from lanai.folders import Folders
from router.vocabulary import DataClass, Mode

__all__ = ["main"]

CLUSTER = "demo"
LONG_TEXT_CHARACTERS = 12_000
SHORT_QUESTIONS = (
    "What is the capital of Australia?",
    "Name three things that float on water.",
    "Write one sentence about the sea in winter.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One request of the demo, and what it is there to show."""

    shows: str
    prompt: str
    context: str = ""
    """Text that goes before the prompt."""
    mode: Mode = Mode.AUTO
    data_class: DataClass = DataClass.PERSONAL


def samples() -> tuple[Sample, ...]:
    short = tuple(Sample(shows="a short question", prompt=each) for each in SHORT_QUESTIONS)
    return (
        *short,
        Sample(
            shows="a text longer than the device's context",
            prompt="Which license is this text from?",
            context=_long_text(),
        ),
        Sample(
            shows="the app would rather have the cloud",
            prompt="Who wrote the play Hamlet?",
            mode=Mode.PREFER_IN_CLOUD,
        ),
        Sample(
            shows="the same wish, but the data is secret",
            prompt="My PIN is 4711. Is a PIN a good thing to share?",
            mode=Mode.PREFER_IN_CLOUD,
            data_class=DataClass.SECRET,
        ),
    )


def main() -> int:
    """Run the demo; return its exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    times: list[tuple[str, float]] = []
    try:
        with _cluster(times):
            return asyncio.run(_requests(times))
    except KeyboardInterrupt:
        complain("stopped")
        return 1
    except LanaiError as error:
        complain(error.message, hint=error.hint)
        return error.exit_code


@contextmanager
def _cluster(times: list[tuple[str, float]]) -> Iterator[None]:
    """A development cluster on this machine, for as long as the block lasts."""
    if find_spec("cloud_node.cli") is None or find_spec("ray") is None:
        say("the cloud extra is not installed: the demo runs on the device alone")
        yield
        return
    try:
        with _timed("start the cluster", times):
            code = _lanai("cloud", "up", "--profile", "development", "--name", CLUSTER)
        if code:
            raise CloudUnavailable(
                f"the cluster did not start (exit {code})", hint="its own words are above"
            )
        yield
    finally:
        # A second Ctrl-C must not leave half a cluster behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with _timed("stop the cluster", times):
            code = _lanai("cloud", "down", "--name", CLUSTER)
        seconds = f"{times[-1][1]:.1f} s"
        click.echo(f"stopped the cluster in {seconds}" if not code else f"`down` ended with {code}")


async def _requests(times: list[tuple[str, float]]) -> int:
    folders = Folders.standard()
    failed = 0
    replies: list[Reply] = []
    async with AsyncAgent.from_config(folders=folders) as agent:
        with _timed("look at device and cloud", times):
            state = await agent.availability()
        click.echo(wrapped("device", state.device.reason))
        click.echo(wrapped("cloud", state.cloud.reason))
        asked = samples()
        for number, sample in enumerate(asked, start=1):
            click.echo(f"\n── {number} of {len(asked)}: {sample.shows} ".ljust(WIDTH + 1, "─"))
            with _timed(f"request {number}", times):
                reply = await _ask(agent, sample)
            if reply is None:
                failed += 1
            else:
                replies.append(reply)
    summary(folders, replies, times)
    return 1 if failed else 0


async def _ask(agent: AsyncAgent, sample: Sample) -> Reply | None:
    click.echo(wrapped("prompt", sample.prompt))
    before = f"after {len(sample.context):,} characters of text, " if sample.context else ""
    click.echo(wrapped("", f"{before}mode {sample.mode}, data {sample.data_class}"))
    session = agent.session(mode=sample.mode, data_class=sample.data_class)
    prompt = f"{sample.context}\n\n{sample.prompt}".strip()
    try:
        reply = await session.respond(prompt, options=Options(max_tokens=96))
    except LanaiError as error:
        complain(f"{error.code}: {error.message}", hint=error.hint)
        return None
    for line in told(reply):
        click.echo(line)
    return reply


def _long_text() -> str:
    """Real text that is too long for the device: the project's licence, else its own source."""
    licence = Path(__file__).resolve().parent.parent / "LICENSE"
    if licence.is_file():
        return licence.read_text(encoding="utf-8")
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return "\n\n".join(each.read_text(encoding="utf-8") for each in sources)[:LONG_TEXT_CHARACTERS]


def _lanai(*arguments: str) -> int:
    """Run one command in a session of its own, so that Ctrl-C does not cut it in half."""
    command = [sys.executable, "-c", "from lanai.cli import main; main()", *arguments]
    child = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        return child.wait()
    except KeyboardInterrupt:
        child.terminate()
        child.wait()
        raise


@contextmanager
def _timed(name: str, times: list[tuple[str, float]]) -> Iterator[None]:
    begun = time.perf_counter()
    try:
        yield
    finally:
        times.append((name, time.perf_counter() - begun))


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
