"""Finding the compiled kernels and calling them by ctypes."""

import ctypes
import importlib.util
import platform
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.kernels import structures
from lanai.errors import EngineError, UsageError

__all__ = ["ISAS", "Kernels", "Pool", "aligned", "load_kernels"]

_ARM: Final = platform.machine() in ("aarch64", "arm64")
# By their numbers; what has one has those before it.
ISAS: Final = ("portable", "neon") if _ARM else ("portable", "avx2", "avx512")
_MODULE: Final = "inference.kernels._native"


class Pool:
    """Threads of the kernels' own; they sleep between tokens. The caller counts as one."""

    handle: int | None = None

    def __init__(self, library: ctypes.CDLL, threads: int) -> None:
        """Raises ``UsageError`` for no such number, ``EngineError`` when there are no more."""
        if not 1 <= threads <= structures.MOST_THREADS:
            raise UsageError(
                f"the kernels run on 1 to {structures.MOST_THREADS} threads, not on {threads}",
                hint="as many as the processor has cores, or fewer",
            )
        self._library = library
        self.threads = threads
        self.handle = library.lanai_pool_new(threads)
        if not self.handle:
            raise EngineError(
                f"{threads} threads of the kernels could not be started", hint="ask for fewer"
            )

    def close(self) -> None:
        """Ends the threads. Idempotent."""
        handle, self.handle = self.handle, None
        if handle:
            self._library.lanai_pool_free(handle)

    def __del__(self) -> None:
        self.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """The compiled code and the instruction set that is used of it."""

    code: ctypes.CDLL
    isa: str

    @property
    def isa_number(self) -> int:
        return ISAS.index(self.isa)

    def with_isa(self, isa: str) -> "Kernels":
        """The same library held to ``isa``; the processor must have it."""
        return Kernels(code=self.code, isa=isa)

    def available(self) -> tuple[str, ...]:
        """Every instruction set this processor runs, the best last."""
        return ISAS[: int(self.code.lanai_best_isa()) + 1]

    def pool(self, threads: int) -> Pool:
        return Pool(self.code, threads)

    def read(self, pool: Pool, data: NDArray[Any]) -> int:
        """Read every byte once with all threads: what memory gives. The sum of its words."""
        return int(self.code.lanai_read(pool.handle, data.ctypes.data, data.nbytes))

    def tables(self, bits: int, palette: NDArray[np.int8]) -> NDArray[np.uint8]:
        """The palette as the instruction sets look it up."""
        out = aligned(structures.TABLE_BYTES)
        self.code.lanai_tables(bits, palette.ctypes.data, out.ctypes.data)
        return out


def load_kernels() -> Kernels | None:
    """The kernels with the best instruction set here; ``None`` when there are none to load."""
    library = _library()
    if library is None:
        return None
    return Kernels(code=library, isa=ISAS[int(library.lanai_best_isa())])


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    spec = importlib.util.find_spec(_MODULE)
    if spec is None or spec.origin is None:
        return None
    try:
        return bind(ctypes.CDLL(spec.origin))
    except (OSError, AttributeError):
        return None


def bind(library: ctypes.CDLL) -> ctypes.CDLL | None:
    """Declare the functions; ``None`` for a library of another version."""
    pointer, integer, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
    plan, cache = ctypes.POINTER(structures.Plan), ctypes.POINTER(structures.Cache)
    low_rank = ctypes.POINTER(structures.LowRank)
    matrix, adapters = ctypes.POINTER(structures.Matrix), ctypes.POINTER(structures.Adapters)
    declared: dict[str, tuple[Any, list[Any]]] = {
        "lanai_abi": (integer, []),
        "lanai_best_isa": (integer, []),
        "lanai_pool_new": (pointer, [integer]),
        "lanai_pool_free": (None, [pointer]),
        "lanai_tables": (None, [integer, pointer, pointer]),
        "lanai_read": (ctypes.c_uint64, [pointer, pointer, size]),
        "lanai_scratch_bytes": (size, [plan, integer, integer]),
        "lanai_forward": (
            integer,
            [plan, adapters, cache, pointer, integer, integer, pointer, pointer],
        ),
        "lanai_step": (
            integer,
            [plan, adapters, ctypes.POINTER(cache), pointer, integer, pointer, pointer],
        ),
        "lanai_product_bytes": (size, [matrix, integer, integer, integer]),
        "lanai_product": (
            integer,
            [integer, pointer, matrix, integer, pointer, integer, pointer, pointer],
        ),
        "lanai_lift": (
            integer,
            [
                integer,
                pointer,
                low_rank,
                integer,
                pointer,
                integer,
                pointer,
                integer,
                *2 * [pointer],
            ],
        ),
    }
    for name, (result, arguments) in declared.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library if library.lanai_abi() == structures.ABI else None


def aligned(count: int) -> NDArray[np.uint8]:
    """Zeroed bytes at a multiple of 64."""
    raw = np.zeros(count + 64, np.uint8)
    first = -raw.ctypes.data % 64
    return raw[first : first + count]
