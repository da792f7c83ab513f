"""``lanai respond`` and ``lanai chat``: the answer to stdout, its source and reason to stderr."""

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from device_agent.cli.asked import answer_options
from device_agent.cli.outside import asker, external_options, why_not_outside
from lanai.cli.output import complain, emit_json, json_option, say
from lanai.errors import LanaiError, UsageError

if TYPE_CHECKING:
    from device_agent.agent import AsyncAgent
    from device_agent.asking import Asking
    from device_agent.departure import Approve
    from device_agent.reply import Reply
    from device_agent.session import AsyncSession, AsyncStream

__all__ = ["chat", "respond", "summary"]


@click.command()
@click.argument("prompt")
@answer_options
@click.option(
    "--schema", metavar="FILE", type=click.Path(path_type=Path), help="answer JSON of this schema"
)
@external_options
@click.option("--stream", is_flag=True, help="print the answer as it comes")
@json_option
def respond(prompt: str, schema: Path | None, stream: bool, as_json: bool, **rest: Any) -> None:
    """Answer PROMPT (- reads standard input) on the device, or in the attested cloud."""
    text = _read(prompt)
    into = None if schema is None else _schema(schema)
    talk = _talk(rest)
    reply = asyncio.run(_respond(text, talk, into, stream and not as_json))
    if as_json:
        emit_json(reply.to_json_dict() | ({} if into is None else {"value": reply.value}))
    elif not stream:
        click.echo(reply.text)
    if not as_json:
        _sum_up(reply)


async def _respond(
    prompt: str, talk: "Talk", into: dict[str, Any] | None, stream: bool
) -> "Reply[Any]":
    from device_agent.agent import AsyncAgent

    async with AsyncAgent.from_config(mode=talk.mode, device_model=talk.model) as agent:
        session = talk.session(agent)
        if stream:
            reply = await _show(session, prompt, talk.asking, into)
        elif into is None:
            reply = await session.respond(prompt, **talk.asking)
        else:
            reply = await session.respond(prompt, into=into, **talk.asking)
        _say_losses(agent)
        return reply


@click.command()
@answer_options
@external_options
def chat(**rest: Any) -> None:
    """Talk line by line; /exit or Ctrl-D ends it. Each answer says where it came from."""
    asyncio.run(_chat(_talk(rest)))


async def _chat(talk: "Talk") -> None:
    from device_agent.agent import AsyncAgent

    async with AsyncAgent.from_config(mode=talk.mode, device_model=talk.model) as agent:
        session = talk.session(agent)
        say("/exit or Ctrl-D ends")
        while (line := await asyncio.to_thread(_next_line)) is not None:
            if line:
                await _turn(session, line, talk.asking)
        _say_losses(agent)


async def _turn(session: "AsyncSession", line: str, asking: "Asking") -> None:
    """One line of the conversation; an error is said and the conversation goes on."""
    try:
        _sum_up(await _show(session, line, asking))
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
    session: "AsyncSession", prompt: str, asking: "Asking", into: dict[str, Any] | None = None
) -> "Reply[Any]":
    stream: AsyncStream[Any] = session.stream(prompt, into=into, **asking)
    async with stream:
        async for event in stream:
            click.echo(event.text, nl=False)
        click.echo()
    return stream.final


def _sum_up(reply: "Reply[Any]") -> None:
    if (line := why_not_outside(reply)) is not None:
        say(line)
    say(summary(reply))


def summary(reply: "Reply[Any]") -> str:
    """One line: where the answer came from, why, and the trace that tells the rest."""
    from router.vocabulary import Stage

    where = f"{reply.source} ({reply.model})"
    if reply.receipt is not None:
        where += f", node {reply.receipt.node[:12]}, {reply.receipt.evidence}"
    if reply.decision.stage is Stage.FALLBACK:
        where += ", after another place was tried"
    return f"{where}: {reply.decision.reason}; trace {reply.trace_id[:12]}"


def _say_losses(agent: "AsyncAgent") -> None:
    if agent.traces_lost:
        say(f"traces not stored: {agent.traces_lost}; see `lanai doctor`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """What the shared options of both commands say."""

    mode: str | None
    model: str | None
    data_class: str
    system: str | None
    approve: "Approve | None"
    asking: "Asking"

    def session(self, agent: "AsyncAgent") -> "AsyncSession":
        return agent.session(
            instructions=self.system, data_class=self.data_class, approve=self.approve
        )


def _talk(given: dict[str, Any]) -> Talk:
    """Raises ``UsageError`` for a value out of range."""
    from device_agent.options import Options

    named = {name: given.pop(name) for name in ("mode", "model", "data_class", "system")}
    external, yes = given.pop("external"), given.pop("yes")
    asking: Asking = {"options": Options(**given)}
    if external is not None:
        asking["external"] = external
    return Talk(**named, approve=asker(external, yes=yes), asking=asking)


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
