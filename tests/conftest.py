"""Fixtures every test may use."""

import os
from pathlib import Path

import pytest

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
