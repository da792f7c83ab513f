"""The training loop: bounds, held-out examples, the best parameters."""

from collections.abc import Callable, Iterator
from itertools import count

import pytest
import torch

from inference.training import (
    Batch,
    Example,
    LowRankChanges,
    Point,
    TrainableDecoder,
    TrainingSettings,
    train,
)
from inference.training.examples import batches, split
from inference.training.losses import Measured
from lanai.errors import UsageError


def lessons(number: int = 24) -> list[Example]:
    """Four tokens, then always the same three: an answer that can be learnt."""
    random = torch.Generator().manual_seed(1)
    answer = torch.tensor([7, 8, 9])
    return [
        Example(
            ids=torch.cat([torch.randint(288, (4,), generator=random), answer]),
            wanted=torch.arange(7) > 3,
        )
        for _ in range(number)
    ]


def settings(**changes: float) -> TrainingSettings:
    values = {"rank": 4, "tokens": 56, "steps": 12, "evaluate_every": 4, "rate": 0.03}
    return TrainingSettings(**{**values, **changes})  # type: ignore[arg-type]


def test_an_answer_is_learnt(tiny: TrainableDecoder) -> None:
    """The held-out loss falls, and the curve tells of every step."""
    told: list[Point] = []
    trained = train(tiny, lessons(), settings(), on_progress=told.append)
    assert trained.before.held_out is not None
    assert trained.best.held_out is not None
    assert trained.best.held_out < 0.9 * trained.before.held_out
    assert tuple(told) == trained.curve
    assert [point.step for point in told if point.loss is not None] == list(range(1, 13))
    assert [point.step for point in told if point.held_out is not None] == [0, 4, 8, 12]


def test_the_same_seed_trains_the_same(tiny: TrainableDecoder) -> None:
    """Two trainings of one seed end in the same numbers, one of another seed in others."""
    ends = [
        train(tiny, lessons(), settings(steps=2, seed=seed)).changes.snapshot()
        for seed in (1, 1, 2)
    ]
    assert all(torch.equal(a, b) for a, b in zip(ends[0], ends[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(ends[0], ends[2], strict=True))


def test_it_stops_early_with_the_best(tiny: TrainableDecoder) -> None:
    """When the held-out loss only rises, training ends, and the first parameters are back."""
    rising = count()

    class Worse:
        def __call__(
            self, model: TrainableDecoder, changes: LowRankChanges, batch: Batch, *, backward: bool
        ) -> Measured:
            if backward:
                for parameter in changes.parameters():
                    parameter.grad = torch.ones_like(parameter)
            return Measured(total=float(next(rising)), rows=1)

    changes = LowRankChanges(tiny.config, rank=4)
    before = changes.snapshot()
    trained = train(tiny, lessons(), settings(steps=100, patience=2), loss=Worse(), changes=changes)
    assert trained.stopped_early
    assert trained.curve[-1].step == 8
    assert trained.best == trained.before
    assert all(torch.equal(a, b) for a, b in zip(changes.snapshot(), before, strict=True))


def test_minutes_bound_it(tiny: TrainableDecoder) -> None:
    """The clock that is given ends it; the rate has fallen by then."""

    def ticking() -> Callable[[], float]:
        seconds: Iterator[int] = count(0, 10)
        return lambda: float(next(seconds))

    trained = train(tiny, lessons(), settings(minutes=3, steps=1000), clock=ticking())
    assert 0 < trained.curve[-1].step < 18
    assert not trained.stopped_early


def test_no_steps_measure_only(tiny: TrainableDecoder) -> None:
    """A bound of 0 gives the point before and leaves the parameters alone."""
    trained = train(tiny, lessons(), settings(steps=0))
    assert trained.curve == (trained.before,)
    assert all(not b.any() for b in trained.changes.b.values())


@pytest.mark.parametrize(
    "wrong", [{"steps": None}, {"steps": -1}, {"rate": 0.0}, {"held_out": 1.0}, {"tokens": 0}]
)
def test_senseless_settings_are_refused(wrong: dict[str, float]) -> None:
    """No bound, or a number out of its range, is an error before anything runs."""
    with pytest.raises(UsageError):
        settings(**wrong)


def test_too_few_examples_are_refused(tiny: TrainableDecoder) -> None:
    """One example cannot be learnt from and held out."""
    with pytest.raises(UsageError, match="leave none"):
        train(tiny, lessons(1), settings())


def test_an_epoch_meets_each_example_once() -> None:
    """Batches hold every key once, no more tokens than asked, padding none of them wants."""
    examples = [Example.whole(torch.arange(1, length + 1)) for length in (3, 9, 4, 8, 5, 12, 3)]
    random = torch.Generator().manual_seed(0)
    epoch = list(batches(examples, range(7), 16, random))
    assert sorted(key for batch in epoch for key in batch.keys) == list(range(7))
    assert all(batch.ids.numel() <= 16 for batch in epoch)
    assert all(torch.equal(batch.ids > 0, batch.wanted) for batch in epoch)


def test_held_out_examples_are_not_learnt_from() -> None:
    """The two sets share no example and leave none out."""
    learn, held = split(40, 0.1, torch.Generator().manual_seed(3))
    assert len(held) == 4
    assert sorted(learn + held) == list(range(40))
