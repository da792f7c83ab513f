"""What training lowers, and its slopes, worked out over some rows at a time.

The vocabulary is far wider than the model: logits of all rows at once would take gigabytes. So the
loss and its slope at the final states are made chunk by chunk, by hand, and only that slope goes
back through the layers. For both losses the slope at the logits is *predicted minus wanted*
probabilities:
    - ``AnswerLoss``: cross-entropy of the tokens marked as the answer
    - ``DistillationLoss``: KL divergence from a teacher's distribution (Hinton et al. 2015)
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import torch
from torch import Tensor

from inference.training.decoder import TrainableDecoder
from inference.training.examples import Batch
from inference.training.low_rank import Changes

__all__ = ["AnswerLoss", "DistillationLoss", "Loss", "Measured"]

# Of logits: 16 MB, which stay in a processor's cache and which the allocator keeps for the next.
LOGITS_AT_ONCE: Final = 1 << 22
# Below so many rows the head is read more often than it is multiplied: Gemma's 262,144 words took
# twice the time at 16 rows.
LEAST_ROWS: Final = 64
# Loss summed over some rows, and its slope at their logits: float32, (rows, vocabulary).
RowLoss = Callable[[Tensor, slice], tuple[float, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """``total`` in nats, summed over ``rows`` predictions."""

    total: float
    rows: int

    @property
    def mean(self) -> float:
        return self.total / max(self.rows, 1)


class Loss(Protocol):
    """``backward`` adds the slopes of the mean over the batch to the parameters of ``changes``."""

    def __call__(
        self, model: TrainableDecoder, changes: Changes, batch: Batch, *, backward: bool
    ) -> Measured: ...


class AnswerLoss:
    """Cross-entropy of the tokens a batch marks, each predicted from all before it."""

    def __call__(
        self, model: TrainableDecoder, changes: Changes, batch: Batch, *, backward: bool
    ) -> Measured:
        wanted = batch.wanted[:, 1:]
        targets = batch.ids[:, 1:][wanted]
        with torch.set_grad_enabled(backward):
            states = model.hidden(batch.ids, changes)[:, :-1][wanted]

        def of_rows(logits: Tensor, rows: slice) -> tuple[float, Tensor]:
            right = targets[rows, None]
            predicted = logits.log_softmax(-1)
            loss = -float(predicted.gather(1, right).sum())
            return loss, predicted.exp_().scatter_add_(1, right, -torch.ones(right.shape))

        return _through_head(model, states, of_rows, backward=backward)


@dataclass(slots=True, kw_only=True, repr=False)
class DistillationLoss:
    """KL(teacher || student) at every token of a batch but padding.

    The teacher's final states of a sequence are kept, in the products' type, the first time they
    are made: ``width`` numbers a token, against a forward pass of the teacher in every epoch.
    """

    teacher: TrainableDecoder
    _known: dict[int, Tensor] = field(default_factory=dict)

    def __call__(
        self, model: TrainableDecoder, changes: Changes, batch: Batch, *, backward: bool
    ) -> Measured:
        taught = self._states(batch)[batch.wanted]
        with torch.set_grad_enabled(backward):
            states = model.hidden(batch.ids, changes)[batch.wanted]

        def of_rows(logits: Tensor, rows: slice) -> tuple[float, Tensor]:
            wanted = self.teacher.logits(taught[rows]).log_softmax(-1)
            predicted = logits.log_softmax(-1)
            probability = wanted.exp()
            loss = float((wanted.sub_(predicted)).mul_(probability).sum())
            return loss, predicted.exp_().sub_(probability)

        return _through_head(model, states, of_rows, backward=backward)

    def _states(self, batch: Batch) -> Tensor:
        missing = [row for row, key in enumerate(batch.keys) if key not in self._known]
        if missing:
            with torch.no_grad():
                made = self.teacher.hidden(batch.ids[missing]).to(self.teacher.dtype)
            for row, states in zip(missing, made, strict=True):
                self._known[batch.keys[row]] = states[: int(batch.lengths[row])].clone()
        known = [self._known[key] for key in batch.keys]
        return torch.nn.utils.rnn.pad_sequence(known, batch_first=True)


def _through_head(
    model: TrainableDecoder, states: Tensor, of_rows: RowLoss, *, backward: bool
) -> Measured:
    """``states``: of the predictions that count, float32, (rows, width)."""
    count = states.shape[0]
    slope = torch.empty(states.shape) if backward else None
    total = 0.0
    with torch.no_grad():
        step = max(LEAST_ROWS, LOGITS_AT_ONCE // model.config.vocabulary)
        for first in range(0, count, step):
            rows = slice(first, min(first + step, count))
            loss, at_logits = of_rows(model.logits(states[rows]), rows)
            total += loss
            if slope is not None:
                slope[rows] = (at_logits.to(model.dtype) @ model.head).float()
    if slope is not None and count:
        torch.autograd.backward(states, slope / count)
    return Measured(total=total, rows=count)
