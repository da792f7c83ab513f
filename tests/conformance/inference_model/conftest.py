"""The default models, installed once from the catalog."""

from pathlib import Path

import pytest
import torch

from lanai.folders import Folders


def installed(name: str) -> Path:
    """The model's folder; pulled when it is missing."""
    folder = Folders.standard().models / name
    if not folder.is_dir():
        from inference.catalog import Catalog

        Catalog(folder.parent).pull(name)
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """On a busy machine two threads spend whole time slices waiting for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def smollm2() -> Path:
    return installed("smollm2-135m-instruct-source")


@pytest.fixture(scope="session")
def gemma3() -> Path:
    return installed("gemma-3-270m")
