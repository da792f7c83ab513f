"""Engines of the tests that run beside others."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def one_engine_thread() -> Iterator[None]:
    """Beside another worker two threads spend whole time slices waiting for each other."""
    with pytest.MonkeyPatch.context() as patch:
        if "PYTEST_XDIST_WORKER" in os.environ:
            patch.setenv("LANAI_DEVICE_THREADS", "1")
        yield
