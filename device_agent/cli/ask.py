"""``lanai respond`` and ``lanai chat``: the answer to stdout, its source and reason to stderr."""

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lanai.cli.output import complain, emit_json, json_option, say
from lanai.errors import LanaiError, UsageError

if TYPE_CHECKING:
    from device_agent.agent import AsyncAgent
    from device_agent.options import Options
    from device_agent.reply import Reply
    from device_agent.session import AsyncSession, AsyncStream

__all__ = ["chat", "respond", "summary"]

MODES = ("auto", "prefer_on_device", "only_on_device", "prefer_in_cloud", "only_in_cloud")
DATA_CLASSES = ("public", "personal", "secret")

mode_option = click.option("--mode", type=click.Choice(MODES), help="where it may run")
data_class_option = click.option(
    "--data-class", type=click.Choice(DATA_CLASSES), default="personal", show_default=True,
    help="secret never leaves the device",
)  # fmt: skip
system_option = click.option("--system", metavar="TEXT", help="instructions for the model")
max_tokens_option = click.option("--max-tokens", type=int, help="length of the answer at most")
temperature_option = click.option("--temperature", type=float, default=0.0, show_default=True)
seed_option = click.option("--seed", type=int, help="for a temperature above 0")
adapter_option = click.option(
    "--adapter", metavar="NAME", help="one of `lanai adapters list`; the device answers"
)


@click.command()
@click.argument("prompt")
@mode_option
@data_class_option
@system_option
@max_tokens_option
@temperature_option
@seed_option
@adapter_option
@click.option(
    "--schema", metavar="FILE", type=click.Path(path_type=Path), help="answer JSON of this schema"
)
@click.option("--stream", is_flag=True, help="print the answer as it comes")
@json_option
def respond(
    prompt: str,
    mode: str | None,
    data_class: str,
    system: str | None,
    schema: Path | None,
    **rest: Any,
) -> None:
    """Answer PROMPT (- reads standard input) on the device, or in the attested cloud."""
    as_json, stream = rest.pop("as_json"), rest.pop("stream")
    text = _read(prompt)
    into = None if schema is None else _schema(schema)
    reply = asyncio.run(
        _respond(text, mode, data_class, system, _options(rest), into, stream and not as_json)
    )
    if as_json:
        emit_json(reply.to_json_dict() | ({} if into is None else {"value": reply.value}))
    elif not stream:
        click.echo(reply.text)
    if not as_json:
        say(summary(reply))


async def _respond(
    prompt: str,
    mode: str | None,
    data_class: str,
    system: str | None,
    options: "Options",
    into: dict[str, Any] | None,
    stream: bool,
) -> "Reply[Any]":
    from device_agent.agent import AsyncAgent

    async with AsyncAgent.from_config(mode=mode) as agent:
        session = agent.session(instructions=system, data_class=data_class)
        if stream:
            reply = await _show(session, prompt, options, into)
        elif into is None:
            reply = await session.respond(prompt, options=options)
        else:
            reply = await session.respond(prompt, options=options, into=into)
        _say_losses(agent)
        return reply


@click.command()
@mode_option
@data_class_option
@system_option
@max_tokens_option
@temperature_option
@seed_option
@adapter_option
def chat(mode: str | None, data_class: str, system: str | None, **rest: Any) -> None:
    """Talk line by line; /exit or Ctrl-D ends it. Each answer says where it came from."""
    asyncio.run(_chat(mode, data_class, system, _options(rest)))


async def _chat(mode: str | None, data_class: str, system: str | None, options: "Options") -> None:
    from device_agent.agent import AsyncAgent

    async with AsyncAgent.from_config(mode=mode) as agent:
        session = agent.session(instructions=system, data_class=data_class)
        say("/exit or Ctrl-D ends")
        while (line := await asyncio.to_thread(_next_line)) is not None:
            if line:
                await _turn(session, line, options)
        _say_losses(agent)


async def _turn(session: "AsyncSession", line: str, options: "Options") -> None:
    """One line of the conversation; an error is said and the conversation goes on."""
    try:
        say(summary(await _show(session, line, options)))
    except LanaiError as error:
        click.echo()
        complain(error.message, hint=error.hint)


def _next_line() -> str | None:
    """A line without its end, or ``None`` at the end of the talk."""
    try:
        line = input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return None
    return None if line in ("/exit", "/quit") else line


async def _show(
    session: "AsyncSession", prompt: str, options: "Options", into: dict[str, Any] | None = None
) -> "Reply[Any]":
    stream: AsyncStream[Any] = session.stream(prompt, into=into, options=options)
    async with stream:
        async for event in stream:
            click.echo(event.text, nl=False)
        click.echo()
    return stream.final


def summary(reply: "Reply[Any]") -> str:
    """One line: where the answer came from, why, and the trace that tells the rest."""
    from router.vocabulary import Stage

    where = f"{reply.source} ({reply.model})"
    if reply.receipt is not None:
        where += f", node {reply.receipt.node[:12]}, {reply.receipt.evidence}"
    if reply.decision.stage is Stage.FALLBACK:
        where += ", instead of the cloud"
    return f"{where}: {reply.decision.reason}; trace {reply.trace_id[:12]}"


def _say_losses(agent: "AsyncAgent") -> None:
    if agent.traces_lost:
        say(f"traces not stored: {agent.traces_lost}; see `lanai doctor`")


def _options(given: dict[str, Any]) -> "Options":
    from device_agent.options import Options

    return Options(**given)


def _read(prompt: str) -> str:
    """``-`` is standard input. Raises ``UsageError`` for bytes that are no text."""
    if prompt != "-":
        return prompt
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError("standard input is not UTF-8 text") from None


def _schema(path: Path) -> dict[str, Any]:
    """Raises ``UsageError`` for a file that holds no JSON object."""
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise UsageError(
            f"{path} cannot be read as a JSON Schema", hint="a file that holds a JSON object"
        ) from None
    if not isinstance(schema, dict):
        raise UsageError(f"{path} holds no JSON object", hint='such as {"type": "object", …}')
    return schema
