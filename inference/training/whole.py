"""Training a packed model through its rounding, all layers at once.

What learns is every number of the matrices, and a recovery adapter beside them if there is one;
what is lowered is any loss of this package, KL(source || packed) to begin with. Shadow weights go
on learning too (Liu et al. 2023, LLM-QAT); with ``hold_codes`` only scales and offsets do
(Chen et al. 2024, EfficientQAT, section 3.3).

Plan of a step:
    1. the matrices as the file would hold them, in the products' type: leaves of the graph
    2. the loss, and slopes at those
    3. matrix by matrix, slopes go on through the rounding: intermediate values of one at a time
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from inference.architectures import DecoderConfig
from inference.formats.packed_matrix import PackedMatrix
from inference.training.decoder import TrainableDecoder
from inference.training.examples import Batch
from inference.training.losses import Loss, Measured
from inference.training.low_rank import GROUPS, Changes, LowRankChanges
from inference.training.rounded import RoundedMatrix, rounded_layer

__all__ = ["RoundedChanges", "ThroughRounding"]

Matrices = Mapping[str, PackedMatrix]


class RoundedChanges(LowRankChanges):
    """Low-rank changes of matrices that learn as well.

    ``changes`` ``None``: the matrices learn alone. ``rate`` and ``number_rate``: as in
    ``BlockSettings``.
    """

    def __init__(
        self,
        config: DecoderConfig,
        matrices: Mapping[str, RoundedMatrix],
        changes: LowRankChanges | None,
        *,
        rate: float,
        number_rate: float,
    ) -> None:
        super().__init__(config, rank=1 if changes is None else changes.rank)
        if changes is not None:
            self.a, self.b, self.alpha = changes.a, changes.b, changes.alpha
        self.matrices = matrices
        self._alone = changes is None
        self._rate, self._number_rate = rate, number_rate

    @classmethod
    def of(  # type: ignore[override]  # made of other things
        cls,
        matrices: Matrices,
        source: TrainableDecoder,
        changes: LowRankChanges | None,
        *,
        rate: float,
        number_rate: float,
        hold_codes: bool = False,
    ) -> "RoundedChanges":
        """Begins exactly at ``matrices``."""
        found: dict[str, RoundedMatrix] = {}
        for index in range(source.config.layers):
            found |= rounded_layer(matrices, source, index)
        if hold_codes:
            for matrix in found.values():
                matrix.hold_codes()
        return cls(source.config, found, changes, rate=rate, number_rate=number_rate)

    def groups(self, rate: float) -> list[dict[str, object]]:
        found = [] if self._alone else super().groups(rate)
        for matrix in self.matrices.values():
            if matrix.codes is None:
                size = float(matrix.shadow.detach().square().mean().sqrt())
                found.append({"params": [matrix.shadow], "lr": self._rate * size})
            found.append({"params": matrix.numbers(), "lr": self._number_rate})
        return found

    def parameters(self) -> list[Tensor]:
        found = [] if self._alone else super().parameters()
        for matrix in self.matrices.values():
            if matrix.codes is None:
                found.append(matrix.shadow)
            found += matrix.numbers()
        return found

    def changed(self, layer: int, group: str, x: Tensor, y: Tensor) -> Tensor:
        return y if self._alone else super().changed(layer, group, x, y)

    def leaves(self, model: TrainableDecoder, *, slopes: bool) -> TrainableDecoder:
        """1. ``model`` with the matrices as they are now."""
        layers = []
        for index, layer in enumerate(model.layers):
            made = {}
            for group, parts in GROUPS.items():
                names = [f"layers.{index}.{part}" for part in parts]
                with torch.no_grad():
                    whole = torch.cat(
                        [self.matrices[name].dense().to(model.dtype) for name in names]
                    )
                made[group] = whole.requires_grad_(slopes)
            layers.append(replace(layer, **made))  # type: ignore[arg-type]  # all are tensors
        return replace(model, layers=tuple(layers))

    def pull(self, model: TrainableDecoder) -> None:
        """3. ``model``: from ``leaves``, behind a backward pass."""
        for index, layer in enumerate(model.layers):
            for group, parts in GROUPS.items():
                names = [f"layers.{index}.{part}" for part in parts]
                slope = getattr(layer, group).grad
                rows = [self.matrices[name].packed.shape[0] for name in names]
                for name, part in zip(names, torch.split(slope, rows), strict=True):
                    self.matrices[name].dense().backward(part.float())  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ThroughRounding:
    """A ``Loss`` of ``RoundedChanges``: ``inner`` of the model they stand for."""

    inner: Loss

    def __call__(
        self, model: TrainableDecoder, changes: Changes, batch: Batch, *, backward: bool
    ) -> Measured:
        if not isinstance(changes, RoundedChanges):
            raise TypeError("what learns has no rounded matrices")
        made = changes.leaves(model, slopes=backward)  # 1
        measured = self.inner(made, changes, batch, backward=backward)  # 2
        if backward:
            changes.pull(made)  # 3
        return measured
