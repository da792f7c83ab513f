"""Run by test_packed_sanitizers.py in a process of its own: kernels built with sanitizers.

python sanitized_steps.py LIBRARY FOLDER
"""

import ctypes
import sys
from pathlib import Path

import numpy as np
import torch

from inference.formats.packed import PackedFile
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
            cache.wipe()
    print("clean")


if __name__ == "__main__":
    main()
