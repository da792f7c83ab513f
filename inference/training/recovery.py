"""The recovery adapter: low-rank changes that bring a packed model back towards its source.

Plan of ``recover``:
    1. a closed form finds changes layer by layer (``fitting``), from some of the sequences
    2. from there on distillation: AdamW on KL(source || packed) at every token

Learns from text the source wrote itself (``writing``); no evaluation text comes near it.
"""

from collections.abc import Callable

from torch import Tensor

from inference.training.decoder import TrainableDecoder
from inference.training.examples import Example
from inference.training.fitting import fit_changes
from inference.training.loop import Point, Trained, TrainingSettings, train
from inference.training.losses import DistillationLoss

__all__ = ["FIT_SEQUENCES", "recover"]

FIT_SEQUENCES = 48


def recover(
    packed: TrainableDecoder,
    source: TrainableDecoder,
    sequences: Tensor,
    settings: TrainingSettings,
    *,
    on_layer: Callable[[int], None] | None = None,
    on_progress: Callable[[Point], None] | None = None,
) -> Trained:
    """``sequences``: int64, (count, n). ``settings.minutes`` bound the second part only."""
    fitted = fit_changes(  # 1
        packed, source, sequences[:FIT_SEQUENCES], rank=settings.rank, on_layer=on_layer
    )
    return train(  # 2
        packed,
        [Example.whole(ids) for ids in sequences],
        settings,
        loss=DistillationLoss(teacher=source),
        changes=fitted,
        on_progress=on_progress,
    )
