"""Training through the rounding, layer by layer (Chen et al. 2024, EfficientQAT, section 3.2).

Plan of ``train_blocks``:
    1. which errors matter behind each layer, from text the source wrote (``curvature``)
    2. for each layer: the matrices' shadow weights, scales, offsets and palettes learn to bring the
       stream behind the rounded layer to the source's stream there. What enters is the stream of
       the rounded layers before it, so it learns to make up for these as well
    3. after each epoch the error on held-out sequences; the best numbers are kept, and no worse
       ones than those it began with
    4. the layer is written as the file will hold it, and both streams go on through it
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from inference.formats.packed_matrix import PackedMatrix
from inference.training.curvature import curvature_roots, relative
from inference.training.decoder import TrainableDecoder
from inference.training.layer_store import LayerStore
from inference.training.low_rank import GROUPS, LowRankChanges
from inference.training.rounded import rounded_layer
from lanai.errors import UsageError

__all__ = ["EPSILON", "BlockError", "BlockSettings", "train_blocks", "with_matrices"]

BETAS: Final = (0.9, 0.95)
EPSILON: Final = 1e-12  # slopes of a weight are far below AdamW's usual 1e-8
WARMUP: Final = 0.05

Matrices = Mapping[str, PackedMatrix]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSettings:
    """``rate``: of shadow weights, in root mean squares of their matrix. ``number_rate``: of
    scales, offsets and palettes, in units of the file. ``low_rank_rate``: of a recovery adapter.
    ``at_once``: sequences of a step."""

    epochs: int = 2
    rate: float = 1e-3
    number_rate: float = 0.003
    low_rank_rate: float = 1e-4
    final_rate: float = 0.05
    at_once: int = 1
    curvature_sequences: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.epochs, self.at_once, self.curvature_sequences)
        if min(counts) < 1 or min(self.rate, self.number_rate) <= 0:
            raise UsageError("a setting of the training is out of its range")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockError:
    """Estimated nats a token that a layer and all before it cost, on held-out sequences."""

    layer: int
    before: float
    after: float


def train_blocks(
    packed: TrainableDecoder,
    matrices: Matrices,
    source: TrainableDecoder,
    learn: Tensor,
    held: Tensor,
    settings: BlockSettings,
    *,
    on_layer: Callable[[BlockError], None],
    changes: LowRankChanges | None = None,
    store: LayerStore | None = None,
    layers: int | None = None,
) -> dict[str, PackedMatrix]:
    """``packed``: the model of ``matrices``. ``learn``, ``held``: int64, (sequences, n).

    ``changes``: a recovery adapter of ``packed``, which learns along. ``store`` keeps each layer
    that is done, and gives those that are. ``layers``: only the first so many. Gives their
    matrices.
    """
    roots = curvature_roots(source, learn[: settings.curvature_sequences])  # 1
    with torch.no_grad():
        made = [packed.embedded(ids) for ids in (learn, held)]
        wanted = [source.embedded(ids) for ids in (learn, held)]
    trained: dict[str, PackedMatrix] = {}
    for index in range(layers or len(source.layers)):  # 2
        names = [f"layers.{index}.{part}" for group in GROUPS.values() for part in group]
        mine = {name: matrices[name] for name in names}
        wanted = [through(source, index, stream) for stream in wanted]
        found = None if store is None else store.take(index, mine, changes)
        if found is None:
            pairs = _Pairs(learn=(made[0], wanted[0]), held=(made[1], wanted[1]), root=roots[index])
            error, found = _Block(packed, source, index, mine, changes, settings).train(pairs)
            on_layer(error)
            if store is not None:
                store.put(index, found, changes)
        packed = with_matrices(packed, index, found)  # 4
        trained |= found
        made = [through(packed, index, stream, changes) for stream in made]
    return trained


def with_matrices(model: TrainableDecoder, index: int, found: Matrices) -> TrainableDecoder:
    """``model`` with the matrices of one layer replaced, ``found`` by name."""
    with torch.no_grad():
        dense = {
            name: torch.from_numpy(found[name].dense_rows(0, found[name].shape[0]))
            for name in found
            if name.startswith(f"layers.{index}.")
        }
    return _replaced(model, index, dense)


def through(
    model: TrainableDecoder, index: int, stream: Tensor, changes: LowRankChanges | None = None
) -> Tensor:
    """The stream of all sequences behind a layer."""
    with torch.no_grad():
        return torch.cat([model.block(index, piece, changes) for piece in torch.split(stream, 4)])


def _replaced(model: TrainableDecoder, index: int, dense: Mapping[str, Tensor]) -> TrainableDecoder:
    """``dense``: by name, (rows, columns); slopes go through."""
    changed = {
        group: torch.cat([dense[f"layers.{index}.{part}"] for part in parts]).to(model.dtype)
        for group, parts in GROUPS.items()
    }
    layer = replace(model.layers[index], **changed)  # type: ignore[arg-type]  # all are tensors
    return replace(model, layers=(*model.layers[:index], layer, *model.layers[index + 1 :]))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class _Pairs:
    """What enters a rounded layer and what should come out of it, to learn from and held out."""

    learn: tuple[Tensor, Tensor]
    held: tuple[Tensor, Tensor]
    root: Tensor

    def error(self, made: Tensor, wanted: Tensor) -> Tensor:
        """Estimated nats a token; ``made``: the stream behind the layer."""
        return (relative(made - wanted, wanted) @ self.root).square().sum(-1).mean() / 2


class _Block:
    """One layer while it learns."""

    def __init__(
        self,
        packed: TrainableDecoder,
        source: TrainableDecoder,
        index: int,
        matrices: Matrices,
        changes: LowRankChanges | None,
        settings: BlockSettings,
    ) -> None:
        self._model, self._index, self._settings = packed, index, settings
        self._changes = changes
        self._matrices = rounded_layer(matrices, source, index)
        groups = []
        for matrix in self._matrices.values():
            size = float(matrix.shadow.detach().square().mean().sqrt())
            groups.append({"params": [matrix.shadow], "lr": settings.rate * size})
            groups.append({"params": matrix.numbers(), "lr": settings.number_rate})
        if changes is not None:
            pairs = [it[name] for name in matrices for it in (changes.a, changes.b)]
            groups.append({"params": pairs, "lr": settings.low_rank_rate})
        self._optimizer = torch.optim.AdamW(
            groups, betas=BETAS, eps=EPSILON, weight_decay=0.0, fused=True
        )
        self._rates = [group["lr"] for group in self._optimizer.param_groups]

    def train(self, pairs: _Pairs) -> tuple[BlockError, dict[str, PackedMatrix]]:
        random = torch.Generator().manual_seed(self._settings.seed + self._index)
        before = best = self._judge(pairs)
        kept = self._snapshot()
        count = -(-len(pairs.learn[0]) // self._settings.at_once)
        total = count * self._settings.epochs
        for epoch in range(self._settings.epochs):
            order = torch.randperm(len(pairs.learn[0]), generator=random)
            for at, rows in enumerate(torch.split(order, self._settings.at_once)):
                self._step(pairs, rows, (epoch * count + at) / total)
            if (judged := self._judge(pairs)) < best:  # 3
                best, kept = judged, self._snapshot()
        self._restore(kept)
        written = {name: matrix.written() for name, matrix in self._matrices.items()}
        return BlockError(layer=self._index, before=before, after=best), written

    def _step(self, pairs: _Pairs, rows: Tensor, progress: float) -> None:
        left = self._settings.final_rate
        share = left + (1 - left) * (1 + math.cos(math.pi * progress)) / 2
        share *= min(1.0, (progress + 0.01) / WARMUP)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * share
        self._optimizer.zero_grad(set_to_none=True)
        self._error(self._layer(), pairs, pairs.learn, rows).backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

    def _judge(self, pairs: _Pairs) -> float:
        with torch.no_grad():
            model = self._layer()
            errors = [
                float(self._error(model, pairs, pairs.held, rows)) * len(rows)
                for rows in torch.split(torch.arange(len(pairs.held[0])), self._settings.at_once)
            ]
        return sum(errors) / len(pairs.held[0])

    def _error(
        self, model: TrainableDecoder, pairs: _Pairs, of: tuple[Tensor, Tensor], rows: Tensor
    ) -> Tensor:
        entered, wanted = (stream[rows] for stream in of)
        return pairs.error(model.block(self._index, entered, self._changes), wanted)

    def _layer(self) -> TrainableDecoder:
        dense = {name: matrix.dense() for name, matrix in self._matrices.items()}
        return _replaced(self._model, self._index, dense)

    def _parameters(self) -> list[Tensor]:
        return [it for group in self._optimizer.param_groups for it in group["params"]]

    def _snapshot(self) -> list[Tensor]:
        return [it.detach().clone() for it in self._parameters()]

    def _restore(self, kept: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self._parameters(), kept, strict=True):
                parameter.copy_(value)
