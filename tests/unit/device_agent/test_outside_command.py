"""`lanai respond --external`: shown, agreed to, or not sent."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import click
import pytest

from device_agent.agent import AsyncAgent
from device_agent.cli import outside
from device_agent.cloud_seam import CloudAsk
from device_agent.external import ExternalFinal, Outgoing
from inference.engine import FinishReason
from lanai.cli.mount import run
from lanai.content import Content

ASKED = ["respond", "hello", "--external", "first", "--data-class", "public"]


class Pieces:
    bytes_received = 7
    final = ExternalFinal(
        model="huge", finish_reason=FinishReason.STOP, input_tokens=1, output_tokens=1
    )

    async def __aiter__(self) -> AsyncIterator[Content]:
        yield Content("from outside")


@dataclass
class Endpoint:
    """An ``External`` that remembers what it was sent."""

    url: str = "https://outside.invalid/v1"
    sent: list[Outgoing] = field(default_factory=list)

    def size(self, ask: CloudAsk) -> int:
        return 123

    @asynccontextmanager
    async def open(self, outgoing: Outgoing) -> AsyncIterator[Pieces]:
        self.sent.append(outgoing)
        yield Pieces()

    async def close(self) -> None:
        pass


@pytest.fixture
def install(make_bench, monkeypatch, tmp_path) -> Callable[..., Endpoint]:
    """`lanai` with a scripted agent and an endpoint; what is said on the terminal."""
    monkeypatch.setenv("LANAI_HOME", str(tmp_path / "home"))

    def make(*, configured: bool = True, terminal: bool | None = None) -> Endpoint:
        endpoint, bench = Endpoint(), make_bench()
        runtime = replace(bench.agent._runtime, external=endpoint if configured else None)
        settings = bench.agent._settings
        monkeypatch.setattr(AsyncAgent, "from_config", lambda **_: AsyncAgent(runtime, settings))
        monkeypatch.setattr(outside.sys.stdin, "isatty", lambda: terminal is not None)
        monkeypatch.setattr(click, "confirm", lambda *_, **__: terminal)
        return endpoint

    return make


def test_a_yes_sends_it_and_the_source_says_so(install, capsys) -> None:
    """On the terminal, or `--yes` where nobody can be asked: then what is sent is said."""
    endpoint = install(terminal=True)
    assert run([*ASKED, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["source"] == "external"
    assert len(endpoint.sent) == 1
    endpoint = install()
    assert run([*ASKED, "--yes"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "from outside\n"
    assert "sending 123 bytes of public data to https://outside.invalid/v1" in printed.err
    assert "external (huge): external_asked" in printed.err


@pytest.mark.parametrize("terminal", [False, None])
def test_without_a_yes_the_device_answers(install, capsys, terminal) -> None:
    """A no, and nobody there to say yes: nothing was sent, and that is said."""
    endpoint = install(terminal=terminal)
    assert run(ASKED) == 0
    printed = capsys.readouterr()
    assert (printed.out, endpoint.sent) == ("from the device\n", [])
    assert "no_consent" in printed.err
    assert ("--yes" in printed.err) is (terminal is None)


def test_what_a_rule_kept_here_is_said_with_what_to_do(install, capsys) -> None:
    """Personal data, the default, stay; so does all where no endpoint is configured."""
    endpoint = install(terminal=True)
    assert run([*ASKED[:4]]) == 0
    assert "not asked outside: external_not_public; --data-class" in capsys.readouterr().err
    install(configured=False, terminal=True)
    assert run(ASKED) == 0
    assert "not asked outside: external_not_configured; set external_url" in capsys.readouterr().err
    assert endpoint.sent == []
