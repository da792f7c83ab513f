"""Adapters kept ready: bounded, the longest unused goes first, a new installation is noticed."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from inference.adapters import read_adapter
from inference.adapters.memory import AdapterMemory
from inference.testing.random_adapter import write_random_adapter
from inference.testing.random_packed import tiny_config
from lanai.errors import AdapterError, AdapterFault, UsageError

CONFIG = tiny_config()


@dataclass(frozen=True)
class Ready:
    name: str
    alpha: float
    bytes: int = 100


class Shelf:
    """A folder of adapters, and a note of each that was read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.read: list[str] = []
        for name in "abc":
            write_random_adapter(folder / name, CONFIG)

    def make(self, folder: Path) -> Ready:
        self.read.append(folder.name)
        adapter = read_adapter(folder, CONFIG)
        return Ready(adapter.name, adapter.alpha)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "adapters")


def test_a_kept_adapter_is_not_read_again(shelf: Shelf) -> None:
    """The same object, whatever was asked for between."""
    memory = AdapterMemory(shelf.folder, shelf.make)
    first = memory.get("a")
    memory.get("b")
    assert memory.get("a") is first
    assert shelf.read == ["a", "b"]
    assert memory.bytes == 200


def test_the_longest_unused_goes_first(shelf: Shelf) -> None:
    """Room for two: the third pushes out the one nobody asked for since."""
    memory = AdapterMemory(shelf.folder, shelf.make, limit_bytes=250)
    for name in ("a", "b", "a", "c"):
        memory.get(name)
    assert memory.names == ("a", "c")
    assert memory.bytes == 200
    memory.get("b")
    assert shelf.read == ["a", "b", "c", "b"]


def test_one_beyond_the_bound_runs_and_is_not_kept(shelf: Shelf) -> None:
    """It pushes nobody out."""
    memory = AdapterMemory(shelf.folder, shelf.make, limit_bytes=99)
    assert memory.get("a").name == "a"
    assert memory.names == ()


def test_a_new_installation_is_noticed(shelf: Shelf) -> None:
    """The same name with other files is read again."""
    memory = AdapterMemory(shelf.folder, shelf.make)
    assert memory.get("a").alpha == 4.0
    write_random_adapter(shelf.folder / "a", CONFIG, alpha=9.0)
    assert memory.get("a").alpha == 9.0


def test_what_is_not_there_is_said(shelf: Shelf) -> None:
    """Also for one that was removed while it was kept; a name that leads elsewhere is refused."""
    memory = AdapterMemory(shelf.folder, shelf.make)
    memory.get("a")
    (shelf.folder / "a" / "adapter_config.json").unlink()
    for name in ("a", "nobody"):
        with pytest.raises(AdapterError) as caught:
            memory.get(name)
        assert caught.value.fault is AdapterFault.NOT_FOUND
    with pytest.raises(UsageError):
        memory.get("../a")
