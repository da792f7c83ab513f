"""A tiny base model with adapters of random numbers, and the compiled kernels."""

import shutil
from pathlib import Path

import pytest
import torch

from inference.adapters.base import config_at
from inference.architectures import DecoderConfig
from inference.kernels import Kernels, load_kernels
from inference.testing import write_tiny_model


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """On a busy machine two threads spend whole time slices waiting for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def kernels() -> Kernels:
    found = load_kernels()
    if found is None and shutil.which("c++") is None:
        pytest.skip("there is no compiler here, so there are no kernels")
    assert found is not None, "there is a compiler, and the kernels are not built: pip install -e ."
    return found


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_settings(tiny_base: Path) -> DecoderConfig:
    return config_at(tiny_base)
