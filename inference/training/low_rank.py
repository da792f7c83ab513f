"""Low-rank changes of a decoder's matrices: W becomes W + alpha / r B A (Hu et al. 2021)."""

from collections.abc import Collection, Mapping
from typing import Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from inference.adapters import MAX_RANK, Adapter, LowRank, matrix_shapes
from inference.architectures import DecoderConfig
from lanai.errors import UsageError

__all__ = ["GROUPS", "Changes", "LowRankChanges"]

# Matrices that read the same input are one product in the forward pass.
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "qkv": ("q", "k", "v"),
    "output": ("output",),
    "gate_up": ("gate", "up"),
    "down": ("down",),
}


class Changes(Protocol):
    """What is done to the outputs of a layer's products."""

    def changed(self, layer: int, group: str, x: Tensor, y: Tensor) -> Tensor:
        """``x``: input, (…, columns); ``y``: what the frozen matrices of ``group`` made of it."""
        ...


class LowRankChanges:
    """Trainable pairs for the matrices of every layer, named as packed matrices are.

    ``a``: float32, (r, columns), drawn from ``seed``; ``b``: float32, (rows, r), zero: at first
    nothing is changed. ``only``: the matrices that have a pair; ``None``: all.
    """

    def __init__(
        self,
        config: DecoderConfig,
        *,
        rank: int,
        alpha: float | None = None,
        seed: int = 0,
        only: Collection[str] | None = None,
    ) -> None:
        if not 1 <= rank <= MAX_RANK:
            raise UsageError(f"the rank is 1 to {MAX_RANK}, not {rank}")
        self.rank = rank
        self.alpha = float(rank if alpha is None else alpha)
        self.a: dict[str, Tensor] = {}
        self.b: dict[str, Tensor] = {}
        self._shapes = matrix_shapes(config)
        random = torch.Generator().manual_seed(seed)
        for name, (rows, columns) in self._shapes.items():
            if only is not None and name not in only:
                continue
            drawn = torch.randn(rank, columns, generator=random) / columns**0.5
            self.a[name] = drawn.requires_grad_()
            self.b[name] = torch.zeros(rows, rank).requires_grad_()

    @classmethod
    def of(cls, config: DecoderConfig, adapter: Adapter) -> "LowRankChanges":
        """Those of an adapter that was read for this decoder; what it leaves alone stays alone."""
        only = adapter.matrices.keys()
        found = cls(config, rank=adapter.rank, alpha=adapter.alpha, only=only)
        with torch.no_grad():
            for name, pair in adapter.matrices.items():
                found.a[name].copy_(torch.from_numpy(pair.a))
                found.b[name].copy_(torch.from_numpy(pair.b))
        return found

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    def parameters(self) -> list[Tensor]:
        """In a fixed order."""
        return [*self.a.values(), *self.b.values()]

    def groups(self, rate: float) -> list[dict[str, object]]:
        """The parameters as an optimizer takes them, each group with its rate."""
        return [{"params": [*self.a.values(), *self.b.values()], "lr": rate}]

    def changed(self, layer: int, group: str, x: Tensor, y: Tensor) -> Tensor:
        names = [f"layers.{layer}.{part}" for part in GROUPS[group]]
        changing = [self.a[name] for name in names if name in self.a]
        if not changing:
            return y
        narrow = functional.linear(x, torch.cat(changing).to(x.dtype))
        pieces = [self.b.get(name, torch.empty(self._shapes[name][0], 0)) for name in names]
        wide = torch.block_diag(*pieces) * self.scale  # type: ignore[no-untyped-call]
        flat = torch.addmm(y.flatten(0, -2), narrow.flatten(0, -2), wide.to(x.dtype).T)
        return flat.view(y.shape)

    def snapshot(self) -> list[Tensor]:
        """Copies of the parameters, for ``restore``."""
        return [parameter.detach().clone() for parameter in self.parameters()]

    def restore(self, snapshot: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, kept in zip(self.parameters(), snapshot, strict=True):
                parameter.copy_(kept)

    def adapter(self, name: str) -> Adapter:
        """The same changes as an adapter to write, run or keep."""
        pairs = {
            key: LowRank(a=a.detach().numpy().copy(), b=self.b[key].detach().numpy().copy())
            for key, a in self.a.items()
        }
        return Adapter(name=name, rank=self.rank, alpha=self.alpha, matrices=pairs)
