"""Adapters kept ready in memory, bounded by bytes; who was used longest ago goes first."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from inference.adapters.faults import fault_error
from inference.adapters.names import check_name
from inference.adapters.reading import WEIGHTS, is_adapter_folder
from inference.adapters.settings import CONFIG
from lanai.errors import AdapterFault

__all__ = ["MEMORY_BYTES", "AdapterMemory"]

MEMORY_BYTES: Final = 64 << 20
"""Room for a dozen adapters of rank 16 on the default device model."""


class _Sized(Protocol):
    @property
    def bytes(self) -> int: ...


R = TypeVar("R", bound=_Sized)
Stamp = tuple[int, ...]


class AdapterMemory(Generic[R]):
    """``get`` gives an adapter of ``folder`` in the form a model runs.

    ``make`` reads an adapter's folder and may raise ``AdapterError``. An adapter that was
    installed anew since is read again. One that is larger than the bound runs, and is not kept.
    """

    def __init__(
        self, folder: Path, make: Callable[[Path], R], *, limit_bytes: int = MEMORY_BYTES
    ) -> None:
        self._folder = folder
        self._make = make
        self._limit = limit_bytes
        self._kept: OrderedDict[str, tuple[Stamp, R]] = OrderedDict()

    @property
    def bytes(self) -> int:
        """Of all that is kept."""
        return sum(ready.bytes for _, ready in self._kept.values())

    @property
    def names(self) -> tuple[str, ...]:
        """What is kept, the longest unused first."""
        return tuple(self._kept)

    def get(self, name: str) -> R:
        """Raises ``AdapterError``, or ``UsageError`` for what is no name."""
        folder = self._folder / check_name(name)
        stamp = _stamp(folder)
        kept = self._kept.pop(name, None)
        if kept is not None and kept[0] == stamp:
            self._kept[name] = kept
            return kept[1]
        ready = self._make(folder)
        self._keep(name, stamp, ready)
        return ready

    def _keep(self, name: str, stamp: Stamp, ready: R) -> None:
        if ready.bytes > self._limit:
            return
        self._kept[name] = (stamp, ready)
        while self.bytes > self._limit:
            self._kept.popitem(last=False)


def _stamp(folder: Path) -> Stamp:
    """Changes with the files."""
    if not is_adapter_folder(folder):
        raise fault_error(AdapterFault.NOT_FOUND)
    try:
        facts = [(folder / name).stat() for name in (CONFIG, WEIGHTS)]
    except OSError:
        return ()  # reading it says what is missing
    return tuple(n for fact in facts for n in (fact.st_ino, fact.st_size, fact.st_mtime_ns))
