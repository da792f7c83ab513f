"""From a packed model to a better one of the same size: everything in it learns.

Plan of ``refine``:
    1. layer by layer, towards the source's stream (``blocks``)
    2. the whole at once, towards the source's distribution (``whole``)

Learns from text the source wrote itself; a share of it is held out and decides what is kept.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from inference.formats.packed_matrix import PLAIN_BITS, PackedMatrix
from inference.training.blocks import BlockError, BlockSettings, train_blocks, with_matrices
from inference.training.decoder import TrainableDecoder
from inference.training.examples import split
from inference.training.layer_store import LayerStore
from inference.training.loop import Point, Trained, TrainingSettings, train
from inference.training.losses import DistillationLoss, Loss
from inference.training.low_rank import LowRankChanges
from inference.training.recovery import begun_anywhere, pieces
from inference.training.whole import RoundedChanges, ThroughRounding
from lanai.errors import UsageError

__all__ = ["Refined", "WholeRates", "refine"]

Matrices = Mapping[str, PackedMatrix]


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeRates:
    """Of part 2: as in ``BlockSettings``. A rate of 0 holds the codes."""

    rate: float = 5e-4
    number_rate: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Refined:
    """``matrices`` of the layers; ``changes``: the recovery adapter, ``None`` without one."""

    matrices: dict[str, PackedMatrix]
    changes: LowRankChanges | None
    whole: Trained | None


def refine(
    packed: TrainableDecoder,
    matrices: Matrices,
    source: TrainableDecoder,
    sequences: Tensor,
    blocks: BlockSettings | None,
    whole: TrainingSettings | None,
    *,
    rates: WholeRates | None,
    held_out: float = 0.08,
    seed: int = 0,
    changes: LowRankChanges | None = None,
    store: LayerStore | None = None,
    on_layer: Callable[[BlockError], None],
    on_progress: Callable[[Point], None] | None = None,
) -> Refined:
    """``packed``: the model of ``matrices``; ``sequences``: int64, (count, n), ``source``'s own.

    ``blocks``, ``whole``: ``None`` leaves that part out. ``changes`` learn along; with ``rates``
    ``None`` they alone learn in part 2. Raises ``UsageError`` for models that are not of one shape,
    matrices in 8 bits, and a part 2 in which nothing would learn.
    """
    body = {name: matrix for name, matrix in matrices.items() if name.startswith("layers.")}
    if packed.config != source.config:
        raise UsageError("the packed model is not of this source", hint="name the model it is of")
    if any(matrix.bits == PLAIN_BITS for matrix in body.values()):
        raise UsageError("matrices in 8 bits do not learn", hint="pack the model with --bits")
    if whole is not None and rates is None and changes is None:
        raise UsageError("nothing is left to learn", hint="name a recovery adapter")
    learn, held = split(len(sequences), held_out, torch.Generator().manual_seed(seed))
    rows = begun_anywhere(sequences)
    if blocks is not None:  # 1
        body = train_blocks(
            packed,
            body,
            source,
            rows[learn],
            rows[held],
            blocks,
            changes=changes,
            store=store,
            on_layer=on_layer,
        )
        for index in range(source.config.layers):
            packed = with_matrices(packed, index, body)
    if whole is None:
        return Refined(matrices=body, changes=changes, whole=None)
    learning = changes  # 2
    loss: Loss = DistillationLoss(teacher=source)
    if rates is not None:
        learning = RoundedChanges.of(
            body,
            source,
            changes,
            rate=rates.rate,
            number_rate=rates.number_rate,
            hold_codes=rates.rate == 0,
        )
        loss = ThroughRounding(inner=loss)
    trained = train(
        packed,
        pieces(rows[learn]),
        whole,
        held_out=pieces(rows[held]),
        loss=loss,
        changes=learning,
        on_progress=on_progress,
    )
    if isinstance(learning, RoundedChanges):
        body = {name: matrix.written() for name, matrix in learning.matrices.items()}
    return Refined(matrices=body, changes=changes, whole=trained)
