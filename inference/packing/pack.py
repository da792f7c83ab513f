"""From a source model to the matrices of a packed one.

Plan of ``pack``:
    1. the source in float32, the calibration text in windows
    2. sensitivity of every matrix, and what each number of bits would cost it: the allocation
    3. layer by layer, with the stream that the packed layers before it give: moments of what
       enters each matrix, quantization with them, and on through the rounded matrix. A matrix that
       lies on a 4-bit grid of 32 columns keeps its codes if it gets that way of holding it
    4. embeddings (and a head of its own) in 8 bits, norms as they are
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from inference.architectures import DecoderWeights
from inference.attention import Attention
from inference.cache import Cache
from inference.decoder import Decoder, Layer
from inference.linear import DenseLinear
from inference.loading import load_source
from inference.packing.allocation import Option, allocate
from inference.packing.assembly import Packed, add_ends, packed_matrix, qkv_biases
from inference.packing.body import BODY, body_matrices, size_in_bits, ways
from inference.packing.calibration import second_moments, windows
from inference.packing.choice import cost, grids_of, group_for, roughly_held
from inference.packing.kept import KEPT, kept_grid
from inference.packing.quantizer import Way, quantize
from inference.packing.sensitivity import sensitivity
from inference.text import TextModel

__all__ = ["WINDOWS", "for_slopes", "pack"]

WINDOWS: Final = 48
BACKWARD_WINDOWS: Final = 6
Say = Callable[[str], None]


def pack(
    source: Path,
    text: TextModel,
    calibration: str,
    *,
    bits: float,
    group: int | None = None,
    say: Say,
) -> Packed:
    """``bits``: what a weight of the layers' matrices may take on average, scales included.

    ``group``: columns that share a scale, instead of those of ``group_for``.
    """
    decoder, weights = load_source(source, precision="float32")  # 1
    pieces = windows(text, calibration, WINDOWS)
    group = group or group_for(decoder.config, weights, bits)
    packer = _Packer(decoder, weights, group, say)
    with torch.no_grad():
        packer.allocate(for_slopes(pieces), bits)  # 2
        packer.layers([decoder.embedding(ids) for ids in pieces])  # 3
        add_ends(packer.packed, weights)  # 4
    return packer.packed


def for_slopes(pieces: Sequence[Tensor]) -> Sequence[Tensor]:
    """Of the calibration windows those whose slopes decide the allocation."""
    return pieces[:: max(1, len(pieces) // BACKWARD_WINDOWS)]


class _Packer:
    def __init__(self, decoder: Decoder, weights: DecoderWeights, group: int, say: Say) -> None:
        self._decoder = decoder
        self._weights = weights
        self._say = say
        self.packed = Packed(config=decoder.config, group=group)
        self._ways: dict[str, Way] = {}

    def allocate(self, pieces: Sequence[Tensor], bits: float) -> None:
        """2. ``_ways`` by matrix name."""
        moments = sensitivity(self._decoder, pieces)
        options: dict[str, list[Option]] = {}
        total = 0
        for layer in range(self._decoder.config.layers):
            grids = grids_of(self._decoder.config, self._weights, layer)
            for part in BODY:
                seen = moments[layer, part]
                first = 0
                for name, weight in self._parts(layer, part):
                    slopes = seen.slopes[first : first + weight.shape[0]]
                    first += weight.shape[0]
                    total += weight.numel()
                    options[name] = [
                        Option(
                            way=way,
                            size=size_in_bits(weight.shape[0], weight.shape[1], way),
                            cost=cost(
                                roughly_held(weight, grids.get(name), seen.inputs, way) - weight,
                                seen.inputs,
                                slopes,
                            ),
                        )
                        for way in ways(self.packed.group)
                    ]
        self._ways = allocate(options, bits * total)
        for way in ways(self.packed.group):
            count = list(self._ways.values()).count(way)
            shifted = " and offsets" if way.offsets else ""
            self._say(f"{count} matrices at {way.bits} bits{shifted}")

    def layers(self, stream: list[Tensor]) -> None:
        """3. ``stream``: residual stream of each window, (n, width)."""
        for index, layer in enumerate(self._decoder.layers):
            stream = self._attention(index, layer, stream)
            stream = self._feed_forward(index, layer, stream)
            self._say(f"layer {index + 1} of {self._decoder.config.layers}")

    def _attention(self, index: int, layer: Layer, stream: list[Tensor]) -> list[Tensor]:
        attention = layer.attention
        normed = [layer.attention_norm(x) for x in stream]
        self._replace(index, "qkv", attention, normed)
        attention.output = _Through()
        mixed = [attention(x, self._room(index, len(x))) for x in normed]
        self._replace(index, "output", attention, mixed)
        pairs = zip(stream, mixed, strict=True)
        return [layer.attended(x, attention.output(seen)) for x, seen in pairs]

    def _feed_forward(self, index: int, layer: Layer, stream: list[Tensor]) -> list[Tensor]:
        normed = [layer.ffn_norm(x) for x in stream]
        self._replace(index, "gate_up", layer, normed)
        inner = []
        for x in normed:
            gate, up = layer.gate_up(x).chunk(2, -1)
            inner.append(layer.activation(gate).mul_(up))
        self._replace(index, "down", layer, inner)
        return [layer.fed(x, layer.down(seen)) for x, seen in zip(stream, inner, strict=True)]

    def _replace(
        self, index: int, part: str, owner: Attention | Layer, inputs: list[Tensor]
    ) -> None:
        """Quantize the matrices of ``part`` and put their rounded form in its place."""
        grids = grids_of(self._decoder.config, self._weights, index)
        parts = self._parts(index, part)
        kept = {name for name, _ in parts if self._ways[name] == KEPT and name in grids}
        moments = None if len(kept) == len(parts) else second_moments(inputs)
        rounded = []
        for name, weight in parts:
            way = self._ways[name]
            if name in kept or moments is None:
                quantized = kept_grid(grids[name])
            else:
                quantized = quantize(weight, moments, way)
            self.packed.matrices[name] = packed_matrix(quantized, way)
            rounded.append(quantized.dense(way.group))
        bias = None
        if part == "qkv":
            bias = qkv_biases(self._decoder.config, self._weights, index)
        setattr(owner, part, DenseLinear(torch.cat(rounded), bias))

    def _room(self, index: int, count: int) -> Cache:
        shapes = [(shape.kv_heads, shape.head_width) for shape in self._decoder.config.shapes]
        # Only this layer's rows are used.
        shapes = [shape if at == index else (1, 1) for at, shape in enumerate(shapes)]
        return Cache(shapes, count, torch.float32, torch.device("cpu"))

    def _parts(self, index: int, part: str) -> list[tuple[str, Tensor]]:
        """(name, weight) of the matrices that read the same input, in row order."""
        return list(body_matrices(self._decoder.config, self._weights, index, part))


class _Through:
    """In the place of the output matrix: shows what would enter it."""

    def __call__(self, x: Tensor) -> Tensor:
        return x
