"""A cloud of real parties in one process, and what a device asks of it."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from threat_stage import Stage

from device_agent.cloud import CloudClient, CloudRequest, CloudStream
from inference.engine import Sampling
from inference.text import ChatMessage
from lanai.content import Content
from trust.tokens import TokenIssuer

QUESTION = "the user's own words"


@pytest.fixture(scope="session")
def issuer() -> TokenIssuer:
    """Slow to make, and the same for every test: tokens differ all the same."""
    return TokenIssuer.generate()


@pytest.fixture
async def make_stage(issuer: TokenIssuer, tmp_path: Path) -> AsyncIterator[Callable]:
    """``await make_stage(nodes=…, store=…)``: everybody, announced."""
    made: list[Stage] = []

    async def make(**parts) -> Stage:
        folder = tmp_path / f"stage-{len(made)}"
        folder.mkdir()
        made.append(Stage(issuer=issuer, folder=folder, **parts))
        await made[-1].announce()
        return made[-1]

    yield make
    for stage in made:
        await stage.close()


@pytest.fixture
async def stage(make_stage) -> Stage:
    return await make_stage()


@pytest.fixture
def question() -> CloudRequest:
    """A request whose every word is secret."""
    return CloudRequest(
        messages=(ChatMessage(role="user", text=Content(QUESTION)),),
        max_tokens=8,
        sampling=Sampling(temperature=0.0),
        stop=(),
    )


@pytest.fixture
def ask(question: CloudRequest) -> Callable:
    """``await ask(client)``: the whole answer's pieces and its stream."""

    async def whole(client: CloudClient) -> tuple[list[Content], CloudStream]:
        async with client.open(question, deadline_s=20) as stream:
            return [piece async for piece in stream], stream

    return whole
