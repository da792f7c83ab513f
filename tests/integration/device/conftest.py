"""The shipped device model behind an agent, as apps have it."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from device_agent import AsyncAgent, Mode
from lanai.folders import Folders

MODEL = "smollm2-135m-instruct"


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[AsyncAgent]:
    """A fresh home with the installed models; `make test` has pulled them."""
    models = Folders.standard().models
    if not (models / MODEL / "lanai.json").is_file():
        message = f"{MODEL} is not installed; run `lanai models pull {MODEL}`"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    (tmp_path / "models").symlink_to(models)
    folders = Folders.below(tmp_path)
    async with AsyncAgent.from_config(folders=folders, mode=Mode.ONLY_ON_DEVICE.value) as made:
        yield made
