"""Proves OTLP against a real viewer: Phoenix, installed by pip in an environment of its own.

    lanai bench viewer [--environment FOLDER] [--screenshot FILE.png]

1. Make the environment (nearly a gigabyte: for this reason not part of the tests) and start Phoenix
   on loopback.
2. Ask the device model one question under ``OTEL_EXPORTER_OTLP_ENDPOINT``, in a child process.
3. Send the stored traces too, by ``lanai trace export --to``.
4. Read the spans back from Phoenix: GenAI attributes, ``lanai.route.*``, and not a word of the
   question anywhere.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from lanai.cli.output import emit_json, json_option, say
from lanai.errors import CloudUnavailable, UsageError

__all__ = ["viewer"]

MARK = "zyzzyva-lighthouse"
"""A word of the question that no other program writes."""
NEEDED = (
    "gen_ai.operation.name",
    "gen_ai.request.model",
    "gen_ai.usage.input_tokens",
    "lanai.route.destination",
    "lanai.route.outcome",
)
START_S = 180.0
ASK = (
    "import asyncio, sys\n"
    "from device_agent import AsyncAgent\n"
    "async def main():\n"
    "    async with AsyncAgent.from_config() as agent:\n"
    "        await agent.session(mode='only_on_device').respond(sys.argv[1])\n"
    "asyncio.run(main())\n"
)


@click.command()
@click.option(
    "--environment",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path.home() / ".cache" / "lanai" / "phoenix",
    help="virtual environment of the viewer, made where it is missing",
)
@click.option("--screenshot", type=click.Path(path_type=Path, dir_okay=False), help="FILE.png")
@json_option
def viewer(environment: Path, screenshot: Path | None, as_json: bool) -> None:
    """Send traces to Phoenix and read them back: what a real viewer shows of them."""
    program = _installed(environment)
    with tempfile.TemporaryDirectory() as folder, _phoenix(program, Path(folder)) as url:
        _ask(url)
        _lanai("trace", "export", "--last", "1", "--to", f"{url}/v1/traces")
        spans = _spans(url)
        if screenshot is not None:
            _draw(url, screenshot)
    found = _judged(spans)
    if as_json:
        emit_json(found)
    else:
        click.echo(
            f"{found['spans']} spans: {', '.join(found['names'])}; content found: "
            f"{found['content_hits']}; missing attributes: {', '.join(found['missing']) or 'none'}"
        )
    if found["missing"] or found["content_hits"]:
        raise CloudUnavailable("the viewer does not show what it should")


def _installed(environment: Path) -> Path:
    program = environment / "bin" / "phoenix"
    if not program.exists():
        say("installing arize-phoenix; this takes some minutes, once")
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        subprocess.run(
            [environment / "bin" / "pip", "install", "--quiet", "arize-phoenix"], check=True
        )
    return program


@contextmanager
def _phoenix(program: Path, folder: Path) -> Iterator[str]:
    """Serving on loopback, in a folder that is thrown away."""
    port, grpc = _free_port(), _free_port()
    settings = {
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(
            [program, "serve"], env=os.environ | settings, stdout=log, stderr=log
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url, child)
            yield url
        finally:
            child.terminate()
            child.wait(30)


def _wait_for(url: str, child: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and child.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=2):  # noqa: S310  loopback
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise CloudUnavailable("the viewer did not start")


def _ask(url: str) -> None:
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": url}
    question = f"What is a {MARK}? Answer in one word."
    subprocess.run([sys.executable, "-c", ASK, question], env=os.environ | settings, check=True)


def _lanai(*arguments: str) -> None:
    code = "import sys; from lanai.cli import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)


def _spans(url: str) -> list[dict[str, Any]]:
    """Phoenix writes what it takes in batches; wait until it stopped growing."""
    seen: list[dict[str, Any]] = []
    for _ in range(20):
        with urllib.request.urlopen(  # noqa: S310  loopback
            f"{url}/v1/projects/default/spans?limit=1000", timeout=10
        ) as answer:
            now = list(json.load(answer)["data"])
        if now and len(now) == len(seen):
            return now
        seen = now
        time.sleep(1)
    return seen


def _draw(url: str, path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise UsageError("a screenshot needs chromium")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,900"]
    wait = "--virtual-time-budget=20000"
    subprocess.run(
        [browser, *options, wait, f"--screenshot={path}", f"{url}/projects"],
        check=True,
        capture_output=True,
        timeout=120,
    )


def _judged(spans: list[dict[str, Any]]) -> dict[str, Any]:
    keys = {key for span in spans for key in span.get("attributes", {})}
    return {
        "spans": len(spans),
        "names": sorted({span["name"] for span in spans}),
        "attributes": sorted(keys),
        "missing": [key for key in NEEDED if key not in keys],
        "content_hits": json.dumps(spans).count(MARK),
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
