"""Losses and their slopes, against plain torch and against differences."""

import pytest
import torch
from torch.nn import functional

from inference.training import (
    AnswerLoss,
    Batch,
    DistillationLoss,
    Loss,
    LowRankChanges,
    TrainableDecoder,
)


def drawn_changes(model: TrainableDecoder) -> LowRankChanges:
    """Low-rank changes none of which is zero."""
    changes = LowRankChanges(model.config, rank=2)
    random = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for b in changes.b.values():
            b.copy_(0.1 * torch.randn(b.shape, generator=random))
    return changes


def test_cross_entropy_is_that_of_torch(tiny_packed: TrainableDecoder, pair: Batch) -> None:
    """Value and every slope are those of ``functional.cross_entropy`` on the marked tokens."""
    changes = drawn_changes(tiny_packed)
    measured = AnswerLoss()(tiny_packed, changes, pair, backward=True)
    found = [parameter.grad for parameter in changes.parameters()]
    logits = tiny_packed.logits(tiny_packed.hidden(pair.ids, changes))[:, :-1]
    marked = pair.wanted[:, 1:]
    wanted = functional.cross_entropy(logits[marked], pair.ids[:, 1:][marked])
    assert abs(measured.mean - wanted.item()) < 1e-5
    assert_slopes(found, torch.autograd.grad(wanted, changes.parameters()))


def test_distillation_is_that_of_torch(tiny_packed: TrainableDecoder, pair: Batch) -> None:
    """Value and every slope are those of ``functional.kl_div``; the teacher here is the model
    without changes."""
    changes = drawn_changes(tiny_packed)
    loss = DistillationLoss(teacher=tiny_packed)
    measured = loss(tiny_packed, changes, pair, backward=True)
    found = [parameter.grad for parameter in changes.parameters()]
    student = tiny_packed.logits(tiny_packed.hidden(pair.ids, changes))[pair.wanted]
    teacher = tiny_packed.logits(tiny_packed.hidden(pair.ids))[pair.wanted]
    wanted = functional.kl_div(
        student.log_softmax(-1), teacher.log_softmax(-1), log_target=True, reduction="batchmean"
    )
    assert abs(measured.mean - wanted.item()) < 1e-5
    assert_slopes(found, torch.autograd.grad(wanted, changes.parameters()))


def test_slopes_are_differences(tiny_packed: TrainableDecoder, pair: Batch) -> None:
    """A small step along the slope changes the loss by the slope's length times the step."""
    changes = drawn_changes(tiny_packed)
    loss: Loss = AnswerLoss()
    loss(tiny_packed, changes, pair, backward=True)
    slopes = [parameter.grad for parameter in changes.parameters()]
    length = torch.cat([slope.flatten() for slope in slopes if slope is not None]).norm()
    step = 1e-3

    def moved(by: float) -> float:
        with torch.no_grad():
            for parameter, slope in zip(changes.parameters(), slopes, strict=True):
                if slope is not None:
                    parameter.add_(slope, alpha=by / float(length))
        return loss(tiny_packed, changes, pair, backward=False).mean

    above = moved(step)
    below = moved(-2 * step)
    assert abs((above - below) / (2 * step) - float(length)) < 0.02 * float(length)


def test_a_teacher_is_asked_once(tiny: TrainableDecoder, pair: Batch) -> None:
    """What it said of a sequence is kept, so later epochs cost no pass of the teacher."""
    asked = []

    class Watched(TrainableDecoder):
        def hidden(self, ids: torch.Tensor, changes: object = None) -> torch.Tensor:
            asked.append(ids.shape[0])
            return tiny.hidden(ids)

    watched = Watched(**{name: getattr(tiny, name) for name in TrainableDecoder.__slots__})
    loss = DistillationLoss(teacher=watched)
    changes = drawn_changes(tiny)
    first = loss(tiny, changes, pair, backward=False)
    again = loss(tiny, changes, pair, backward=False)
    assert asked == [2]
    assert first == again


def test_a_model_does_as_itself(tiny: TrainableDecoder, pair: Batch) -> None:
    """Without changes there is no divergence from oneself."""
    loss = DistillationLoss(teacher=tiny)
    measured = loss(tiny, LowRankChanges(tiny.config, rank=1), pair, backward=False)
    assert abs(measured.mean) < 1e-6
    assert measured.rows == int(pair.wanted.sum())


def assert_slopes(found: list[torch.Tensor | None], wanted: tuple[torch.Tensor, ...]) -> None:
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine is not None
        assert torch.allclose(mine, theirs, atol=1e-5, rtol=1e-3)


def test_a_head_in_pieces_is_the_whole_head(
    tiny_packed: TrainableDecoder, pair: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few rows are judged at a time, the loss and its slopes are the same."""
    found = []
    for rows in (2, 1000):
        monkeypatch.setattr("inference.training.losses.LOGITS_AT_ONCE", 1)
        monkeypatch.setattr("inference.training.losses.LEAST_ROWS", rows)
        changes = drawn_changes(tiny_packed)
        measured = AnswerLoss()(tiny_packed, changes, pair, backward=True)
        assert measured.rows > 2
        found.append((measured.total, [parameter.grad for parameter in changes.parameters()]))
    (pieces, slopes), (whole, wanted) = found
    assert abs(pieces - whole) < 1e-4
    assert_slopes(slopes, tuple(slope for slope in wanted if slope is not None))
