"""Adapters inside the torch decoder: ``y = W x + scale * B (A x)``, in the model's own type.

Matrices that read the same input are one product in the decoder, so their changes are one pair:
the ``A`` below each other, the ``B`` in blocks. Adapters that are on together are summed the same
way, ``A`` below ``A`` and ``B`` beside ``B``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from inference.adapters import Adapter, matrix_shapes
from inference.architectures import DecoderConfig

__all__ = ["UNCHANGED", "LayerLift", "Lift", "Lifts", "lifted", "lifts_of"]

GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "qkv": ("q", "k", "v"),
    "output": ("output",),
    "gate_up": ("gate", "up"),
    "down": ("down",),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lift:
    """A change of one product. ``a``: (R, columns); ``b``: (R, rows), the scale within."""

    a: Tensor
    b: Tensor

    @property
    def bytes(self) -> int:
        return sum(half.numel() * half.element_size() for half in (self.a, self.b))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerLift:
    """Of one layer; ``None`` where nothing changes."""

    qkv: Lift | None = None
    output: Lift | None = None
    gate_up: Lift | None = None
    down: Lift | None = None

    @property
    def bytes(self) -> int:
        lifts = (self.qkv, self.output, self.gate_up, self.down)
        return sum(lift.bytes for lift in lifts if lift is not None)


UNCHANGED: Final = LayerLift()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lifts:
    """Of a whole model; no layers: nothing changes. ``repr`` shows their number only."""

    layers: tuple[LayerLift, ...]

    def of(self, layer: int) -> LayerLift:
        return self.layers[layer] if self.layers else UNCHANGED

    def __repr__(self) -> str:
        return f"<lifts of {len(self.layers)} layers>"

    @property
    def bytes(self) -> int:
        return sum(layer.bytes for layer in self.layers)


def lifted(x: Tensor, y: Tensor, lift: Lift | None) -> Tensor:
    """``y``, the frozen product of ``x``, with the change; (n, columns), (n, rows)."""
    return y if lift is None else torch.addmm(y, functional.linear(x, lift.a), lift.b)


def lifts_of(
    adapters: Sequence[Adapter], config: DecoderConfig, dtype: torch.dtype, device: torch.device
) -> Lifts:
    """What ``adapters`` change together, ready to run."""
    shapes = matrix_shapes(config)

    def lift(layer: int, group: str) -> Lift | None:
        names = [f"layers.{layer}.{part}" for part in GROUPS[group]]
        made = _stacked(adapters, names, [shapes[name][0] for name in names])
        if made is None:
            return None
        a, b = (half.to(device=device, dtype=dtype).contiguous() for half in made)
        return Lift(a=a, b=b)

    layers = (
        LayerLift(**{group: lift(layer, group) for group in GROUPS})
        for layer in range(config.layers)
    )
    return Lifts(layers=tuple(layers))


def _stacked(
    adapters: Sequence[Adapter], names: Sequence[str], rows: Sequence[int]
) -> tuple[Tensor, Tensor] | None:
    """``a``, (R, columns), and ``b`` transposed, (R, rows of all), float32."""
    a: list[Tensor] = []
    b: list[Tensor] = []
    for adapter in adapters:
        first = 0
        for name, count in zip(names, rows, strict=True):
            if (pair := adapter.matrices.get(name)) is not None:
                wide = torch.zeros(adapter.rank, sum(rows))
                wide[:, first : first + count] = torch.from_numpy(pair.b).T * adapter.scale
                a.append(torch.from_numpy(pair.a))
                b.append(wide)
            first += count
    return (torch.cat(a), torch.cat(b)) if a else None
