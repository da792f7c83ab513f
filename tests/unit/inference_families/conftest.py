"""Families of models with random weights."""

import shutil

import pytest
import torch

from inference.kernels import Kernels, load_kernels


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
