"""``lanai serve``: the agent behind OpenAI's chat completions, on this machine only."""

import asyncio
import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from device_agent.cli.asked import mode_option
from lanai.cli.output import emit_json, json_option, say
from lanai.errors import ConfigError

if TYPE_CHECKING:
    from device_agent.serving import Serving
    from lanai.settings import Settings

__all__ = ["serve"]

LEAST_KEY: Final = 16
MOST_KEY_BYTES: Final = 1024


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="0 takes any free port")
@click.option("--host", metavar="ADDRESS", help="another address than loopback needs a key")
@mode_option("where requests may run that do not say")
@click.option("--key-file", type=click.Path(path_type=Path), help="clients must send its content")
@click.option("--allow-origin", multiple=True, metavar="ORIGIN", help="pages that may ask")
@json_option
def serve(port: int | None, host: str | None, as_json: bool, **rest: Any) -> None:
    """Answer OpenAI clients at http://127.0.0.1:PORT/v1 until Ctrl-C."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    flags = {
        "serve_port": port,
        "serve_host": host,
        "mode": rest["mode"],
        "serve_key_file": rest["key_file"],
        "serve_origins": rest["allow_origin"] or None,
    }
    asyncio.run(_serve(flags, as_json=as_json))


async def _serve(flags: dict[str, Any], *, as_json: bool) -> None:
    from device_agent.agent import AsyncAgent
    from device_agent.serving import LocalServer, bind
    from lanai.settings import Settings

    settings = Settings.load(flags=flags).settings
    serving = _serving(settings)
    listener = bind(settings.serve_host, settings.serve_port)
    url = _url(settings.serve_host, listener.getsockname()[1])
    async with AsyncAgent.from_config(**flags) as agent:
        server = LocalServer(agent, serving, listener)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, server.stop)
        await server.run(ready=lambda: _announce(url, as_json=as_json))
    say("stopped")


def _serving(settings: "Settings") -> "Serving":
    from device_agent.serving import Serving
    from device_agent.serving.guard import Guard

    guard = Guard(
        host=settings.serve_host,
        key=_key(settings.serve_key_file),
        origins=frozenset(settings.serve_origins),
    )
    return Serving(guard=guard, most_requests=settings.serve_requests)


def _key(path: Path | None) -> str | None:
    """The file's first line. Raises ``ConfigError`` for one that protects nothing."""
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            key = file.read(MOST_KEY_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"cannot read a key from {path}", hint="one line of ASCII") from None
    if len(key) < LEAST_KEY or len(key.split()) != 1:
        raise ConfigError(
            f"the key in {path} is not one word of {LEAST_KEY} characters or more",
            hint="for example `openssl rand -hex 32`",
        )
    return key


def _url(host: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/v1"


def _announce(url: str, *, as_json: bool) -> None:
    if as_json:
        emit_json({"url": url})
    else:
        click.echo(url)
    say("Ctrl-C stops it")
