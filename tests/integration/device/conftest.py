"""The shipped device model behind an agent, as apps have it."""

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from device_agent import AsyncAgent, Mode
from lanai.folders import Folders

MODEL = "smollm2-135m-instruct"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AsyncAgent]:
    """A fresh home with the installed models; `make test` has pulled them.

    One for the tests of a file: each of them has sessions of its own.
    """
    models = Folders.standard().models
    if not (models / MODEL / "lanai.json").is_file():
        message = f"{MODEL} is not installed; run `lanai models pull {MODEL}`"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    home = tmp_path_factory.mktemp("home")
    (home / "models").symlink_to(models)
    folders = Folders.below(home)
    async with AsyncAgent.from_config(folders=folders, mode=Mode.ONLY_ON_DEVICE.value) as made:
        yield made
