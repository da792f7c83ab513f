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

__all__ = ["FIT_SEQUENCES", "recover"]

FIT_SEQUENCES = 32


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
    if begin_with is None:  # 1
        some = _learnt_from(sequences, settings)[:FIT_SEQUENCES]
        begin_with = fit_changes(packed, source, some, rank=settings.rank, on_layer=on_layer)
    return train(  # 2
        packed,
        [Example.whole(ids) for ids in sequences],
        settings,
        loss=DistillationLoss(teacher=source),
        changes=begin_with,
        on_progress=on_progress,
    )


def _learnt_from(sequences: Tensor, settings: TrainingSettings) -> Tensor:
    """All but those ``train`` will hold out: they are to be new to the closed form too."""
    random = torch.Generator().manual_seed(settings.seed)
    learn, _ = split(len(sequences), settings.held_out, random)
    return sequences[learn]
