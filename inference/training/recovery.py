"""The recovery adapter: low-rank changes that bring a packed model back towards its source.

Plan of ``recover``:
    1. a closed form finds changes layer by layer (``fitting``), from some of the sequences
    2. from there on distillation: AdamW on KL(source || packed) at every token

Learns from text the source wrote itself (``writing``); no evaluation text comes near it.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from inference.training.decoder import TrainableDecoder
from inference.training.examples import Example, split
from inference.training.fitting import fit_changes
from inference.training.loop import Point, Trained, TrainingSettings, train
from inference.training.losses import DistillationLoss
from inference.training.low_rank import LowRankChanges

__all__ = ["FIT_SEQUENCES", "begun_anywhere", "pieces", "recover"]

FIT_SEQUENCES = 32
PIECE = 256


def recover(
    packed: TrainableDecoder,
    source: TrainableDecoder,
    sequences: Tensor,
    settings: TrainingSettings,
    *,
    begin_with: LowRankChanges | None = None,
    on_layer: Callable[[int], None] | None = None,
    on_progress: Callable[[Point], None] | None = None,
) -> Trained:
    """``sequences``: int64, (count, n). ``settings.minutes`` bound the second part only.

    ``begin_with``: changes from before, in the place of the first part.
    """
    random = torch.Generator().manual_seed(settings.seed)
    learn, held = split(len(sequences), settings.held_out, random)
    rows = begun_anywhere(sequences)
    if begin_with is None:  # 1
        some = rows[learn][:FIT_SEQUENCES]
        begin_with = fit_changes(packed, source, some, rank=settings.rank, on_layer=on_layer)
    return train(  # 2
        packed,
        pieces(rows[learn]),
        settings,
        held_out=pieces(rows[held]),
        loss=DistillationLoss(teacher=source),
        changes=begin_with,
        on_progress=on_progress,
    )


def begun_anywhere(sequences: Tensor) -> Tensor:
    """Every second sequence with its halves exchanged, so that it begins within a text.

    The first token of a sequence is unlike all others: attention rests on it, and its states are
    huge. What is learnt must hold whatever token that is.
    """
    rows = sequences.clone()
    rows[1::2] = rows[1::2].roll(rows.shape[1] // 2, 1)
    return rows


def pieces(rows: Tensor) -> list[Example]:
    """Attention over a short sequence costs less for each token."""
    return [Example.whole(piece) for row in rows for piece in row.split(PIECE)]
