"""Run by test_packed_sanitizers.py in a process of its own: kernels built with sanitizers.

python sanitized_steps.py LIBRARY FOLDER
"""

import ctypes
import sys
from pathlib import Path

import numpy as np
import torch

from inference.formats.packed import PackedFile
from inference.kernels.adapter_plan import AdapterPlan
from inference.kernels.binding import ISAS, Kernels, bind
from inference.packed_decoder import PackedDecoder
from inference.testing.random_adapter import random_adapter
from inference.testing.random_packed import tiny_config, write_tiny_packed


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
    print("clean")


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
