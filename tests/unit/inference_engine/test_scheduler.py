"""Turns, pieces, queueing and wiping, with a runner that keeps a diary."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.engine import Finished, FinishReason, GenerateOptions, Prefilled, Token
from inference.runner import Prediction, Slot, step_alone
from inference.scheduler import (
    FailureCode,
    MaskNeeded,
    RequestFailed,
    Scheduler,
)
from lanai.errors import EngineError

Break = Callable[[], None]


class Diary:
    """A runner of four tokens that writes down each forward and each wipe."""

    def __init__(self, fail: Break | None = None) -> None:
        self.forwards: list[int] = []
        self.together: list[int] = []
        self.live = 0
        self.fail = fail

    def begin(self, prompt: int, answer: int, adapter: str | None = None) -> "Page":
        self.live += 1
        return Page(self)

    def step(self, slots: Sequence[Slot], ids: NDArray[np.int32]) -> list[Prediction]:
        self.together.append(len(slots))
        return step_alone(slots, ids)


class Page:
    def __init__(self, diary: Diary) -> None:
        self.diary = diary

    def forward(self, ids: NDArray[np.int32]) -> Prediction:
        if self.diary.fail:
            self.diary.fail()
        self.diary.forwards.append(ids.size)
        logits = np.array([0, 1, 2, 3], dtype=np.float32)
        return Prediction(logits=logits, hidden=np.zeros(2, dtype=np.float32))

    def wipe(self) -> None:
        self.diary.live -= 1


def prompt(size: int) -> NDArray[np.int32]:
    return np.ones(size, dtype=np.int32)


def run(scheduler: Scheduler, steps: int = 100) -> list[tuple[str, Any]]:
    events: list[tuple[str, Any]] = []
    for _ in range(steps):
        if scheduler.idle:
            break
        events.extend(scheduler.step())
    return events


def kinds(events: list[tuple[str, Any]]) -> list[tuple[str, type]]:
    return [(name, type(event)) for name, event in events]


def test_a_long_prompt_goes_in_pieces_and_the_others_move_on() -> None:
    """While one prefills in pieces of four, the other gets a token in between each."""
    diary = Diary()
    scheduler = Scheduler(diary, prefill_piece=4)
    scheduler.submit("short", prompt(1), GenerateOptions(max_tokens=5))
    scheduler.submit("long", prompt(10), GenerateOptions(max_tokens=1))
    run(scheduler)
    assert diary.forwards == [1, 4, 1, 4, 1, 2, 1, 1]


def test_answers_grow_together_and_join_and_leave_between_steps() -> None:
    """Each step has a row for every answer that runs then, whoever came when."""
    diary = Diary()
    scheduler = Scheduler(diary)
    scheduler.submit("long", prompt(1), GenerateOptions(max_tokens=6))
    scheduler.submit("short", prompt(1), GenerateOptions(max_tokens=3))
    for _ in range(3):
        list(scheduler.step())
    scheduler.submit("late", prompt(1), GenerateOptions(max_tokens=4))
    events = run(scheduler)
    assert diary.together == [2, 2, 2, 2, 2]
    assert [name for name, event in events if isinstance(event, Finished)] == [
        "short",
        "long",
        "late",
    ]


def test_an_answer_that_waits_for_its_mask_is_left_out() -> None:
    """Its row is computed while the mask is awaited, and then the others go on without it."""
    diary = Diary()
    scheduler = Scheduler(diary)
    scheduler.submit("free", prompt(1), GenerateOptions(max_tokens=4))
    scheduler.submit("bound", prompt(1), GenerateOptions(max_tokens=4), constrained=True)
    run(scheduler)
    assert diary.together == [1, 1, 1]
    scheduler.give_mask("bound", None)
    run(scheduler)
    assert diary.together == [1, 1, 1, 1]


def test_a_failing_step_frees_all_its_answers() -> None:
    """Each is told why and wiped; the prompt that comes next is served."""
    diary = Diary()
    scheduler = Scheduler(diary)
    for name in "ab":
        scheduler.submit(name, prompt(1), GenerateOptions(max_tokens=4))
    for _ in range(2):
        list(scheduler.step())
    diary.fail = _failed
    failed = RequestFailed(code=FailureCode.MODEL_FAILED)
    assert list(scheduler.step()) == [("a", failed), ("b", failed)]
    assert diary.live == 0
    diary.fail = None
    scheduler.submit("c", prompt(1), GenerateOptions(max_tokens=2))
    assert kinds(run(scheduler))[-1] == ("c", Finished)


def test_the_same_prompt_costs_the_same_every_time() -> None:
    """There is no prefix cache: nobody can learn from the work what others have asked."""
    diary = Diary()
    scheduler = Scheduler(diary, prefill_piece=4)
    costs = []
    for name in "abc":
        scheduler.submit(name, prompt(10), GenerateOptions(max_tokens=2))
        run(scheduler)
        costs.append(diary.forwards)
        diary.forwards = []
    assert costs == [[4, 4, 2, 1]] * 3


def test_the_last_token_costs_no_forward() -> None:
    """n tokens take n-1 forwards after the prompt's."""
    diary = Diary()
    scheduler = Scheduler(diary)
    scheduler.submit("a", prompt(3), GenerateOptions(max_tokens=3))
    events = run(scheduler)
    assert kinds(events) == [("a", Prefilled), *[("a", Token)] * 3, ("a", Finished)]
    assert diary.forwards == [3, 1, 1]


def test_every_end_wipes_the_cache_and_the_prompt() -> None:
    """Length, stop id and cancellation (queued, prefilling, waiting) leave nothing behind."""
    diary = Diary()
    scheduler = Scheduler(diary, prefill_piece=2, live_limit=2)
    prompts = {name: prompt(4) for name in ("length", "stop", "half", "waiting", "queued")}
    scheduler.submit("length", prompts["length"], GenerateOptions(max_tokens=1))
    scheduler.submit(
        "stop", prompts["stop"], GenerateOptions(max_tokens=9, stop_ids=frozenset({3}))
    )
    run(scheduler)
    scheduler.submit("waiting", prompts["waiting"], GenerateOptions(max_tokens=9), constrained=True)
    run(scheduler)
    scheduler.submit("half", prompts["half"], GenerateOptions(max_tokens=9))
    list(scheduler.step())
    scheduler.submit("queued", prompts["queued"], GenerateOptions(max_tokens=9))
    assert diary.live == 2
    for name in ("queued", "half", "waiting"):
        (_, event), *rest = scheduler.cancel(name)
        assert event.reason is FinishReason.CANCELLED
        assert not rest
    assert diary.live == 0
    assert not any(ids.any() for ids in prompts.values())
    assert scheduler.idle


def test_cancelling_twice_or_a_stranger_does_nothing() -> None:
    """No event, no error."""
    scheduler = Scheduler(Diary())
    assert list(scheduler.cancel("stranger")) == []
    scheduler.give_mask("stranger", None)


def test_no_more_than_the_limit_hold_a_cache() -> None:
    """The third waits until one of the first two ends; nobody is left out."""
    diary = Diary()
    scheduler = Scheduler(diary, live_limit=2)
    for name in "abc":
        scheduler.submit(name, prompt(1), GenerateOptions(max_tokens=2))
    most = 0
    events = []
    while not scheduler.idle:
        events.extend(scheduler.step())
        most = max(most, diary.live)
    assert most == 2
    assert [name for name, event in events if isinstance(event, Finished)] == ["a", "b", "c"]


def test_a_constrained_request_waits_for_each_mask() -> None:
    """It asks before the token's forward, and draws once the mask is there."""
    diary = Diary()
    scheduler = Scheduler(diary)
    scheduler.submit("a", prompt(1), GenerateOptions(max_tokens=2), constrained=True)
    assert kinds(run(scheduler)) == [("a", Prefilled), ("a", MaskNeeded)]
    scheduler.give_mask("a", np.array([0b0100], dtype=np.uint32))
    events = run(scheduler)
    assert kinds(events) == [("a", Token), ("a", MaskNeeded)]
    assert events[0][1].id == 2
    assert diary.forwards == [1, 1]  # the second ran while the mask was awaited
    scheduler.give_mask("a", None)
    events = run(scheduler)
    assert kinds(events) == [("a", Token), ("a", Finished)]
    assert events[0][1].id == 3


def _no_memory() -> None:
    raise MemoryError


def _failed() -> None:
    raise EngineError("failed")


@pytest.mark.parametrize(
    ("fail", "code"), [(_no_memory, FailureCode.NO_MEMORY), (_failed, FailureCode.MODEL_FAILED)]
)
def test_a_failing_request_is_freed_and_the_others_go_on(fail: Break, code: FailureCode) -> None:
    """One word says why; its cache is wiped; the next request runs."""
    diary = Diary(fail)
    scheduler = Scheduler(diary)
    scheduler.submit("bad", prompt(1), GenerateOptions(max_tokens=2))
    assert run(scheduler) == [("bad", RequestFailed(code=code))]
    assert diary.live == 0
    diary.fail = None
    scheduler.submit("good", prompt(1), GenerateOptions(max_tokens=1))
    assert kinds(run(scheduler))[-1] == ("good", Finished)


def test_times_are_those_of_the_clock() -> None:
    """Queue, prefill and decode are differences of the clock that was given."""
    ticks = iter(range(100))
    scheduler = Scheduler(Diary(), clock=lambda: float(next(ticks)))
    scheduler.submit("a", prompt(1), GenerateOptions(max_tokens=1))
    (_, prefilled), _, (_, finished) = run(scheduler)
    assert (prefilled.queue_s, prefilled.prefill_s, finished.decode_s) == (1, 1, 1)
