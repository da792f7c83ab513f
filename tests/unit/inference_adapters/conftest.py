"""A tiny base model with adapters of random numbers, and the compiled kernels."""

from pathlib import Path

import pytest

from inference.adapters.base import config_at
from inference.architectures import DecoderConfig
from inference.testing import write_tiny_model


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_settings(tiny_base: Path) -> DecoderConfig:
    return config_at(tiny_base)
