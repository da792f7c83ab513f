"""A cloud in memory, its client, and a request."""

from collections.abc import Callable
from pathlib import Path

import pytest

from device_agent.cloud import CloudClient, CloudRequest
from device_agent.testing import InMemoryCloud
from inference.engine import Sampling
from inference.text import ChatMessage
from lanai.content import Content
from trust.tokens import TokenIssuer

SECRET = "the user's own words"


@pytest.fixture(scope="session")
def issuer() -> TokenIssuer:
    return TokenIssuer.generate()


@pytest.fixture
def cloud(issuer: TokenIssuer) -> InMemoryCloud:
    return InMemoryCloud(issuer=issuer)


@pytest.fixture
def client(cloud: InMemoryCloud, tmp_path: Path) -> CloudClient:
    return cloud.client(tmp_path)


@pytest.fixture
def request_of() -> Callable[..., CloudRequest]:
    """``request_of(text, seed=…)``: one user message."""

    def made(text: str = SECRET, *, seed: int | None = None, max_tokens: int = 8) -> CloudRequest:
        return CloudRequest(
            messages=(ChatMessage(role="user", text=Content(text)),),
            max_tokens=max_tokens,
            sampling=Sampling(temperature=0.5, seed=seed),
            stop=(Content("###"),),
        )

    return made


@pytest.fixture
def asked(request_of) -> CloudRequest:
    return request_of()


@pytest.fixture
def plain() -> Callable[[InMemoryCloud], InMemoryCloud]:
    """The cloud as it is behind the outer seal: what it is asked and says is in the clear.

    For whatever sits between the sealed transport and its caller, the roster first of all.
    """

    def opened(cloud: InMemoryCloud) -> InMemoryCloud:
        async def fetch(payload: bytes) -> bytes:
            await cloud.connect()
            return cloud._reply(payload)

        cloud.fetch = fetch
        return cloud

    return opened
