"""Fixtures every test may use."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from inference.kernels import Kernels, load_kernels
from inference.openmp import set_openmp_here

# Before any test imports torch: beside the processes that tests start, two threads spend whole time
# slices waiting for each other.
set_openmp_here(1)

# How long one example takes depends on what else runs on the machine. The same examples in every
# run: new ones are for `make fuzz`, not for whoever changes something else.
settings.register_profile(
    "unhurried",
    settings(),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("unhurried")

REPOSITORY = Path(__file__).resolve().parent.parent
SIDE_BY_SIDE = "PYTEST_XDIST_WORKER" in os.environ
PROCESSES = "tests/integration/"
MYPY = ("tests/typing/test_device_typing.py", "tests/unit/project/test_house_rules.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several workers one begins with what takes longest."""
    if SIDE_BY_SIDE:
        items.sort(key=lambda item: turn_of(item.nodeid) != PROCESSES)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What workers share (``make test WORKERS=2``)."""
    from xdist.scheduler import LoadScopeScheduling

    class Turns(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return turn_of(nodeid)

    return Turns(config, log)


def turn_of(nodeid: str) -> str:
    """Tests of one name run one after the other in one worker.

    Those of whole clusters and nodes take turns with each other, and so do those that share mypy's
    cache; of all else a file stays together.
    """
    path = nodeid.partition("::")[0]
    if path.startswith(PROCESSES):
        return PROCESSES
    return MYPY[0] if path in MYPY else path


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """What a command that ran in this process asked of torch ends with its test."""
    yield
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)


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
