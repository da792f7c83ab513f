"""Fixtures every test may use."""

import os
import shutil
from pathlib import Path

import pytest

from inference.kernels import Kernels, load_kernels
from inference.openmp import set_openmp_here

# Before any test imports torch: beside the servers that tests start, spinning threads cost minutes.
set_openmp_here(2)

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The shared evaluation data and standard vectors; required in CI."""
    folder = Path(os.environ.get("LANAI_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        message = f"conformance data not found at {folder}; set LANAI_DATA"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def kernels() -> Kernels:
    """The compiled kernels; where there is a compiler they must be there."""
    found = load_kernels()
    if found is None and shutil.which("c++") is None:
        pytest.skip("there is no compiler here, so there are no kernels")
    assert found is not None, "there is a compiler, and the kernels are not built: pip install -e ."
    return found
