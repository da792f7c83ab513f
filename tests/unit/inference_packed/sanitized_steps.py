"""Run by test_packed_sanitizers.py in a process of its own: kernels built with sanitizers.

python sanitized_steps.py LIBRARY FOLDER
"""

import ctypes
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from inference.adapters import Adapter, LowRank
from inference.formats.packed import GROUPS, PackedFile
from inference.formats.packed_matrix import BITS
from inference.kernels import structures
from inference.kernels.adapter_plan import AdapterPlan
from inference.kernels.binding import ISAS, Kernels, Pool, aligned, bind
from inference.packed_decoder import PackedDecoder
from inference.testing.random_adapter import random_adapter
from inference.testing.random_packed import random_matrix, tiny_config, write_tiny_packed


def main() -> None:
    library = bind(ctypes.CDLL(sys.argv[1]))
    assert library is not None
    variations = (
        ({}, 32),
        ({"heads": 6, "kv_heads": 1, "qk_norm": True, "window": 11}, 64),
        ({"width": 33, "ffn_width": 50, "vocabulary": 17, "heads": 1, "kv_heads": 1}, 32),
    )
    for number, (change, group) in enumerate(variations):
        path = write_tiny_packed(
            Path(sys.argv[2]) / str(number), tiny_config(**change), group=group
        )
        file = PackedFile.open(path)
        for isa in ISAS[: library.lanai_best_isa() + 1]:
            kernels = Kernels(code=library, isa=isa)
            decoder = PackedDecoder(file, kernels, context_tokens=41, threads=2)
            decoder.keep_on(random_adapter(file.config, rank=17, parts=("q", "down")))
            adapter = decoder.adapted(random_adapter(file.config, rank=3))
            cache = decoder.new_cache(41)
            ids = torch.from_numpy(np.random.default_rng(1).integers(0, 17, 41))
            for piece in torch.split(ids, [13, 1, 1, 26]):
                decoder.forward(piece, cache, all_logits=True, adapter=adapter)
                adapter = None
            several(decoder, decoder.adapted(random_adapter(file.config, rank=3)))
            cache.wipe()
    for isa in range(library.lanai_best_isa() + 1):
        alone(library, isa)
    print("clean")


def alone(library: ctypes.CDLL, isa: int) -> None:
    """Single products and changes of ragged sizes, and a read of no whole number of words."""
    random = np.random.default_rng(isa)
    pool = Pool(library, 2)
    kernels = Kernels(code=library, isa=ISAS[isa])
    for bits in BITS:
        for group in GROUPS:
            rows, columns, count = (int(random.integers(1, most)) for most in (50, 300, 40))
            matrix = random_matrix(random, rows, columns, bits, group, offsets=bits == 3)
            tables = None if matrix.palette is None else kernels.tables(bits, matrix.palette)
            parts = {
                "codes": matrix.codes,
                "tables": tables,
                "scales": matrix.scales,
                "offsets": matrix.offsets,
                "row_scale": matrix.row_scale,
            }
            of = structures.Matrix(
                **{name: part.ctypes.data for name, part in parts.items() if part is not None},
                rows=rows,
                columns=columns,
                bits=bits,
            )
            x = random.standard_normal((count, columns)).astype(np.float32)
            y = np.empty((count, rows), np.float32)
            work = aligned(library.lanai_product_bytes(of, group, count, pool.threads))
            given = (of, group, x.ctypes.data, count, y.ctypes.data, work.ctypes.data)
            assert library.lanai_product(isa, pool.handle, *given) == 0
            change(library, isa, pool, group, x, y)
    words = np.arange(77, dtype=np.uint8)
    library.lanai_read(pool.handle, words.ctypes.data, words.nbytes)
    pool.close()


def change(
    library: ctypes.CDLL,
    isa: int,
    pool: Pool,
    group: int,
    x: NDArray[np.float32],
    y: NDArray[np.float32],
) -> None:
    """``lanai_lift`` of rank 5 over ``y``."""
    random, rank = np.random.default_rng(2), 5
    a = random.standard_normal((rank, x.shape[1])).astype(np.float32)
    b = random.standard_normal((y.shape[1], rank)).astype(np.float32)
    pairs = {"layers.0.q": LowRank(a=a, b=b)}
    adapter = Adapter(name="one", rank=rank, alpha=1.0, matrices=pairs)
    plan = AdapterPlan(adapter, layers=1, group=group)
    of = plan.layers[0].q
    inner = np.empty((len(x), of.a.rows), np.float32)
    work = aligned(library.lanai_product_bytes(of.a, group, len(x), pool.threads))
    given = (of, group, x.ctypes.data, len(x), y.ctypes.data, y.shape[1])
    rest = (inner.ctypes.data, work.ctypes.data)
    assert library.lanai_lift(isa, pool.handle, *given, *rest) == 0


def several(decoder: PackedDecoder, adapter: AdapterPlan) -> None:
    """Steps of up to 21 sequences of different lengths and capacities, until some are full."""
    caches = [decoder.new_cache(1 + 2 * row) for row in range(21)]
    for row, cache in enumerate(caches[2:], 2):
        decoder.predict(np.arange(2 * row - 1) % 17, cache)
    for number in (1, 3, 4, 6, 21):
        few = caches[-number:]
        decoder.predict_step(np.arange(number) % 17, few, adapter=adapter if number > 3 else None)
        for cache in few:
            cache.take_back(int(number < 21))
    for cache in caches[2:]:
        decoder.predict_step(np.array([5]), [cache])
        assert cache.length == cache.capacity


if __name__ == "__main__":
    main()
