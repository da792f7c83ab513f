"""How long one row takes through a matrix of each shape and number of bits.

Plan of ``latencies``:
    1. for each shape and form so many matrices of random bytes that a round of all of them is
       larger than the caches: weights come from memory, as they do in a decode step
    2. rounds that run everything once, in turn, so that what else the machine does meets all alike
    3. medians over the rounds, less what calling the smallest product costs

Without the compiled kernels it is torch's bfloat16 product, the same for every number of bits,
which is what a packed model runs then.
"""

import ctypes
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from inference.formats.packed_matrix import PLAIN_BITS, TILE, UNIT, padded_columns, tiles
from inference.kernels import Kernels, structures
from inference.kernels.binding import Pool, aligned
from inference.packing.body import ways
from inference.packing.quantizer import Way
from lanai.errors import EngineError

__all__ = ["latencies", "ways_with_plain"]

BEYOND_CACHES: Final = 80 << 20
MOST_COPIES: Final = 48
Clock = Callable[[], float]
Key = tuple[tuple[int, int], Way]
Tick = Callable[[int, int], None]


def ways_with_plain(group: int) -> list[Way]:
    """Those an allocation chooses from, and 8 bits."""
    return [*ways(group), Way(bits=PLAIN_BITS, group=group)]


def latencies(
    keys: Iterable[Key],
    kernels: Kernels | None,
    *,
    threads: int,
    rounds: int,
    tick: Tick,
    clock: Clock = time.perf_counter,
) -> dict[Key, float]:
    """Microseconds by shape (rows, columns) and way."""
    wanted = list(dict.fromkeys(keys))
    products, floor = _products(wanted, kernels, threads)  # 1
    times: list[list[float]] = [[] for _ in wanted]
    empty: list[float] = []
    copies = max(len(of) for of in products)
    for number in range(rounds):  # 2
        for copy in range(copies):
            for at, of in enumerate(products):
                if copy < len(of):
                    times[at].append(_timed(of[copy], clock))
            empty.append(_timed(floor, clock))
        tick(number + 1, rounds)
    call = statistics.median(empty)
    return {  # 3
        key: 1e6 * max(statistics.median(found) - call, 0.0)
        for key, found in zip(wanted, times, strict=True)
    }


def _timed(product: Callable[[], None], clock: Clock) -> float:
    began = clock()
    product()
    return clock() - began


def _products(
    keys: Sequence[Key], kernels: Kernels | None, threads: int
) -> tuple[list[list[Callable[[], None]]], Callable[[], None]]:
    """Copies of the product of each key, and one of a single tile."""
    smallest = ((TILE, UNIT), Way(bits=PLAIN_BITS, group=UNIT))
    if kernels is None:
        return [[_torch_product(shape)] for shape, _ in keys], _torch_product(smallest[0])
    pool = kernels.pool(threads)
    random = np.random.default_rng(0)
    once = sum(_bytes(shape, way) for shape, way in keys)
    copies = min(MOST_COPIES, 1 + BEYOND_CACHES // once)
    products: list[list[Callable[[], None]]] = [
        # A vocabulary's matrix is beyond the caches by itself.
        [
            _KernelProduct(kernels, pool, shape, way, random)
            for _ in range(1 if _bytes(shape, way) > BEYOND_CACHES // 8 else copies)
        ]
        for shape, way in keys
    ]
    return products, _KernelProduct(kernels, pool, *smallest, random)


def _bytes(shape: tuple[int, int], way: Way) -> int:
    return tiles(shape[0]) * TILE * padded_columns(shape[1], way.group) * way.bits // 8


def _torch_product(shape: tuple[int, int]) -> Callable[[], None]:
    weight, x = torch.zeros(shape).bfloat16(), torch.zeros(1, shape[1]).bfloat16()

    def product() -> None:
        functional.linear(x, weight)

    return product


class _KernelProduct:
    """One matrix of random bytes, and all that a call needs."""

    def __init__(
        self,
        kernels: Kernels,
        pool: Pool,
        shape: tuple[int, int],
        way: Way,
        random: np.random.Generator,
    ) -> None:
        rows, columns = shape
        high, wide = tiles(rows), padded_columns(columns, way.group)
        grouped = (high, wide // way.group, TILE)
        parts: dict[str, NDArray[Any]] = {
            "codes": aligned(high * wide // UNIT * 64 * way.bits),
            "row_scale": np.full(high * TILE, 0x3A00, np.uint16),
        }
        parts["codes"][:] = random.integers(0, 256, parts["codes"].size, np.uint8)
        if way.bits != PLAIN_BITS:
            palette = np.linspace(-127, 127, 1 << way.bits).astype(np.int8)
            parts["tables"] = kernels.tables(way.bits, palette)
            parts["scales"] = random.integers(1, 256, grouped).astype(np.uint8)
        if way.offsets:
            parts["offsets"] = random.integers(-9, 10, grouped).astype(np.int8)
        matrix = structures.Matrix(
            **{name: part.ctypes.data for name, part in parts.items()},
            rows=rows,
            columns=columns,
            bits=way.bits,
        )
        code = kernels.code
        x = random.standard_normal(columns).astype(np.float32)
        y = np.empty(rows, np.float32)
        size = code.lanai_product_bytes(ctypes.byref(matrix), way.group, 1, pool.threads)
        work = aligned(size)
        self._held = (parts, matrix, x, y, work, pool)
        self._product = code.lanai_product
        self._arguments = (
            kernels.isa_number,
            pool.handle,
            ctypes.byref(matrix),
            way.group,
            x.ctypes.data,
            1,
            y.ctypes.data,
            work.ctypes.data,
        )

    def __call__(self) -> None:
        if self._product(*self._arguments):
            raise EngineError("the kernels refused a product")
