"""Families of models with random weights."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """On a busy machine two threads spend whole time slices waiting for each other."""
    torch.set_num_threads(1)
