"""The endpoint outside, for real: `lanai serve` itself on loopback, with a key, asked over HTTP."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent import AsyncAgent, Options
from lanai.errors import ExternalError
from lanai.folders import Folders
from router.vocabulary import Destination, Reason

MODEL = "smollm2-135m-instruct"
QUESTION = "What is the capital of Australia?"


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key"
    path.write_text("a-key-of-this-test-alone\n")
    return path


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, key_file: Path) -> Iterator[str]:
    """A server of this test's own on a free port."""
    models, home = Folders.standard().models, tmp_path_factory.mktemp("home")
    if not (models / MODEL / "lanai.json").is_file():
        pytest.fail(f"{MODEL} is not installed; run `lanai models pull {MODEL}`")
    (home / "models").symlink_to(models)
    command = [sys.executable, "-c", "from lanai.cli import main; main()", "serve", "--port", "0"]
    environment = os.environ | {"LANAI_HOME": str(home)}
    with subprocess.Popen(
        [*command, "--json", "--key-file", str(key_file)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            yield json.loads("".join(server.stdout.readline() for _ in range(3)))["url"]
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0
        finally:
            server.kill()


async def test_an_agent_without_a_model_is_answered_from_outside(url, key_file, tmp_path) -> None:
    """Streamed, with tokens counted; ledger and reply name the endpoint; the key is taken."""
    asked = []

    async def approve(proposal) -> bool:
        asked.append(proposal)
        return True

    agent = AsyncAgent.from_config(
        folders=Folders.below(tmp_path),
        external_url=url,
        external_model="lanai",
        external_key_file=key_file,
    )
    async with agent:
        session = agent.session(data_class="public", approve=approve)
        async with session.stream(
            QUESTION, external="last", options=Options(max_tokens=40)
        ) as stream:
            pieces = [event.text async for event in stream]
        reply = stream.final
        (left,) = agent.ledger.disclosures()
    assert reply.text == "".join(pieces) == "The capital of Australia is Canberra."
    assert len(pieces) > 1
    assert (reply.source, reply.decision.reason) == (Destination.EXTERNAL, Reason.EXTERNAL_LAST)
    assert reply.usage.input_tokens > 0
    assert reply.usage.output_tokens > 0
    assert (left.destination, left.endpoint, left.outcome) == ("external", url, "answered")
    assert left.bytes_sent == asked[0].bytes
    assert left.bytes_received > len(reply.text)


async def test_a_wrong_key_is_a_typed_refusal(url, tmp_path) -> None:
    """And none of the server's words are repeated."""
    wrong = tmp_path / "wrong"
    wrong.write_text("not-the-key-of-this-test\n")
    agent = AsyncAgent.from_config(
        folders=Folders.below(tmp_path),
        external_url=url,
        external_model="lanai",
        external_key_file=wrong,
    )
    async with agent:
        session = agent.session(data_class="public", approve=lambda _: True)
        with pytest.raises(ExternalError) as caught:
            await session.respond(QUESTION, external="first")
    assert caught.value.status == 401
