"""Training low-rank adapters on the processor: a differentiable decoder, losses, the loop.

Trusts the model files it is given as far as ``inference`` does. Examples are user content: they are
held in memory only, and never in messages, logs or the files that are written.

Importing this package imports torch.
"""

from inference.training.decoder import TrainableDecoder
from inference.training.examples import Batch, Example
from inference.training.loop import Point, Trained, TrainingSettings, train
from inference.training.losses import AnswerLoss, DistillationLoss, Loss
from inference.training.low_rank import LowRankChanges
from inference.training.rows import parse_examples

__all__ = [
    "AnswerLoss",
    "Batch",
    "DistillationLoss",
    "Example",
    "Loss",
    "LowRankChanges",
    "Point",
    "TrainableDecoder",
    "Trained",
    "TrainingSettings",
    "parse_examples",
    "train",
]
