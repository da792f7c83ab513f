"""Guessing by prompt lookup: the guesses, the purse, and the scheduler that verifies them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.engine import Finished, GenerateOptions, Sampling, Token
from inference.runner import Prediction, Slot, step_alone
from inference.scheduler import RequestFailed, Scheduler
from inference.speculation import (
    DEAREST_AFTER,
    FIRST_CREDIT,
    FIRST_SLOPE,
    MOST_CREDIT,
    Purse,
    Speculation,
)
from lanai.errors import EngineError

VOCABULARY = 64
COPIED = [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
READ = [4, *COPIED, 4, 5, 6]
"""Its answer goes on with 7."""


class Copying:
    """A runner whose answers repeat the prompt's ids in order, with some doubt.

    It knows what it was told by position, so an id that was not taken back is noticed.
    """

    def __init__(self, fail: Callable[[], None] | None = None) -> None:
        self.passes: list[int] = []
        self.slots: list[CopyingSlot] = []
        self.fail = fail

    def begin(self, prompt: int, answer: int, adapter: str | None = None) -> "CopyingSlot":
        self.slots.append(CopyingSlot(self, prompt + answer))
        return self.slots[-1]

    def step(self, slots: Any, ids: NDArray[np.int32]) -> list[Prediction]:
        return step_alone(slots, ids)


class CopyingSlot(Slot):
    most_rows = 4

    def __init__(self, runner: Copying, capacity: int) -> None:
        self.runner, self.capacity = runner, capacity
        self.ids: list[int] = []
        self.told: list[NDArray[np.float32]] = []
        self.wiped = False

    def forward(self, ids: NDArray[np.int32]) -> Prediction:
        self.runner.passes.append(ids.size)
        self.ids += ids.tolist()
        return self._prediction()

    def forward_each(self, ids: NDArray[np.int32]) -> list[Prediction]:
        if self.runner.fail:
            self.runner.fail()
        self.runner.passes.append(ids.size)
        found = []
        for each in ids.tolist():
            self.ids.append(each)
            found.append(self._prediction())
        return found

    def take_back(self, count: int) -> None:
        del self.ids[len(self.ids) - count :]

    def wipe(self) -> None:
        self.wiped = True

    def _prediction(self) -> Prediction:
        """The id after the last one, mostly; a rule of all ids decides how surely."""
        assert len(self.ids) <= self.capacity
        random = np.random.default_rng(self.ids)
        logits = random.standard_normal(VOCABULARY).astype(np.float32)
        logits[(self.ids[-1] + 1) % VOCABULARY] += 5
        self.told.append(logits)
        return Prediction(logits=logits, hidden=np.zeros(2, np.float32))


def answer(
    runner: Any, options: GenerateOptions, *, prompt: list[int] = COPIED, on: bool = True
) -> tuple[list[int], Finished]:
    scheduler = Scheduler(runner, speculation=on)
    scheduler.submit("it", np.array(prompt, np.int32), options)
    events: list[Any] = []
    while not scheduler.idle:
        events.extend(event for _, event in scheduler.step())
    return [each.id for each in events if isinstance(each, Token)], events[-1]


def options(**changes: Any) -> GenerateOptions:
    return GenerateOptions(max_tokens=40, speculation=True, **changes)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.5])
def test_the_tokens_are_those_without_speculation(seed: int, temperature: float) -> None:
    """Greedy and sampled, whatever is accepted; and the statistics beside them."""
    sampling = Sampling(temperature=temperature, seed=seed, top_p=0.95)
    prompt = COPIED[seed % 5 :] + COPIED
    plain, _ = answer(Copying(), options(sampling=sampling), prompt=prompt, on=False)
    runner = Copying()
    guessed, finished = answer(runner, options(sampling=sampling), prompt=prompt)
    assert guessed == plain
    assert finished.accepted <= finished.drafted
    assert sum(runner.passes) == len(prompt) + len(plain) - 1 + finished.drafted - finished.accepted


def test_an_answer_that_copies_takes_fewer_passes() -> None:
    """What was accepted is counted and saved."""
    runner = Copying()
    tokens, finished = answer(runner, options(), prompt=READ)
    assert tokens[:8] == COPIED[2:]
    assert finished.accepted >= 6
    assert len(runner.passes) - 1 <= len(tokens) - finished.accepted


def test_an_answer_ends_in_the_middle_of_a_guess_as_without() -> None:
    """At a stop id and at its length; the guess behind it is no token."""
    for changes in ({"stop_ids": frozenset({9})}, {"max_tokens": 3}):
        given = GenerateOptions(**({"max_tokens": 40, "speculation": True} | changes))
        runner = Copying()
        plain = answer(Copying(), given, prompt=READ, on=False)
        guessed = answer(runner, given, prompt=READ)
        assert guessed[0] == plain[0]
        assert guessed[1].reason is plain[1].reason
        assert runner.slots[0].wiped


def test_every_prediction_is_overwritten() -> None:
    """Those of rejected rows too: the largest logit is a token."""
    runner = Copying()
    _, finished = answer(runner, options(), prompt=READ)
    assert 0 < finished.accepted < finished.drafted
    assert not any(logits.any() for logits in runner.slots[0].told)


@pytest.mark.parametrize(
    ("on", "asked", "constrained"), [(False, True, False), (True, False, False), (True, True, True)]
)
def test_it_is_off(on: bool, asked: bool, constrained: bool) -> None:
    """In an engine without it, as a node's; unasked; for a constrained request."""
    runner = Copying()
    scheduler = Scheduler(runner, speculation=on)
    given = GenerateOptions(max_tokens=12, speculation=asked)
    scheduler.submit("it", np.array(READ, np.int32), given, constrained=constrained)
    for _ in range(40):
        list(scheduler.step())
        scheduler.give_mask("it", None)
    assert scheduler.idle
    assert runner.passes == [len(READ)] + [1] * 11


def test_two_answers_go_together_and_none_guesses() -> None:
    """Rows of guesses would hold the other up; the one that is left guesses again."""
    runner, prompt = Copying(), np.array(READ, np.int32)
    scheduler = Scheduler(runner, speculation=True)
    for name, tokens in (("short", 3), ("long", 30)):
        given = GenerateOptions(max_tokens=tokens, speculation=True)
        scheduler.submit(name, prompt.copy(), given)
    most = {1: 1, 2: 1}
    while not scheduler.idle:
        live = len(scheduler._requests)
        list(scheduler.step())
        rows = [count for count in runner.passes if count != prompt.size]
        most[live] = max(rows, default=1)
    assert most == {1: 4, 2: 1}


def test_a_pass_that_fails_fails_its_request() -> None:
    """And frees it."""

    def fail() -> None:
        raise EngineError("it")

    runner = Copying(fail)
    scheduler = Scheduler(runner, speculation=True)
    scheduler.submit("it", np.array(READ, np.int32), options())
    events: list[Any] = []
    while not scheduler.idle:
        events.extend(event for _, event in scheduler.step())
    assert isinstance(events[-1], RequestFailed)
    assert runner.slots[0].wiped


def test_the_guess_is_what_followed_the_longest_run() -> None:
    """The latest of equals; nothing without two ids in common."""
    made = rich(np.array([1, 2, 3, 9, 2, 3, 8, 8, 7, 1, 2], np.int32))
    made.add(3)
    assert made.next_ids(3, room=9).tolist() == [3, 9, 2, 3]
    made.add(60)
    assert made.next_ids(60, room=9).tolist() == [60]
    assert (made.drafted, made.accepted) == (3, 0)
    assert "3" in repr(made)


def test_a_guess_is_no_longer_than_the_room() -> None:
    """And than what is known."""
    made = rich(np.array([1, 2, 3, 4, 1, 2], np.int32))
    assert made.next_ids(2, room=2).tolist() == [2, 3]
    assert made.next_ids(2, room=1).tolist() == [2]
    close = rich(np.array([1, 1, 1], np.int32))
    assert close.next_ids(1, room=9).tolist() == [1, 1]


def test_a_wiped_one_holds_no_id() -> None:
    """Neither what was read and said nor the guess."""
    made = Speculation(np.array(COPIED * 2, np.int32), answer=9, rows=4)
    made.next_ids(COPIED[-1], room=9)
    guess = made._guess
    assert guess.any()
    made.wipe()
    assert not any(made._said.bytes)
    assert not guess.any()


def rich(read: NDArray[np.int32]) -> Speculation:
    """One that can pay for any guess."""
    made = Speculation(read, answer=9, rows=4)
    made._sources[0][1].credit = MOST_CREDIT
    return made


def test_a_purse_bounds_what_wrong_guesses_cost() -> None:
    """Of any length: half a pass, and what rows cost more than was known."""
    for slope in (0.1, 0.4, 1.0):
        purse, lost = Purse(), 0.0
        for _ in range(1000):
            rows = 1 + min(3, purse.affords())
            seconds = 1 + slope * (rows - 1)
            purse.plain(seconds) if rows == 1 else purse.guessed(rows, seconds)
            lost += seconds - 1
        assert lost <= 0.5 + 3 * max(0, slope - FIRST_SLOPE)


def test_the_pass_after_a_guess_is_charged_too() -> None:
    """What it takes longer, within bounds; a pass after none is not, nor is a fast one."""
    for seconds, charged in ((1.0, 0.0), (0.9, 0.0), (1.2, 0.2), (9.0, DEAREST_AFTER)):
        purse = Purse()
        purse.plain(1.0)
        purse.plain(2.0)  # nobody's fault
        assert purse.credit == FIRST_CREDIT
        purse = Purse()
        purse.plain(1.0)
        purse.guessed(2, 1.25)
        assert purse.credit == pytest.approx(FIRST_CREDIT - 0.25)
        purse.plain(seconds)
        assert purse.credit == pytest.approx(FIRST_CREDIT - 0.25 - charged)
        purse.plain(seconds)
        assert purse.credit == pytest.approx(FIRST_CREDIT - 0.25 - charged)


def test_a_first_pass_that_was_slow_does_not_make_guesses_cheap() -> None:
    """After a long prompt memory is slow for a moment; rows are measured by undisturbed passes."""
    purse = Purse()
    for seconds in (1.6, 1.4, 1.2, *[1.0] * 8):
        purse.plain(seconds)
    purse.guessed(3, 1.4)
    assert purse.credit == pytest.approx(FIRST_CREDIT - 0.4, abs=0.1)
    for seconds in (1.0, 1.3) * 20:
        purse.plain(seconds)
    before = purse.credit
    purse.guessed(3, 1.4)
    assert before - purse.credit == pytest.approx(0.4, abs=0.1)


def test_a_purse_lets_good_guesses_go_on() -> None:
    """Two kept of three at a usual price: it never runs dry."""
    purse = Purse()
    for _ in range(100):
        rows = min(3, purse.affords())
        assert rows
        purse.guessed(1 + rows, 0.0)
        for _ in range(min(2, rows)):
            purse.kept()
    assert purse.affords() > 3


def test_an_empty_purse_watches_until_guesses_come_true() -> None:
    """Guesses that are not run cost nothing; four that were right pay for rows again."""
    made = Speculation(np.array([*COPIED, 60, 61, *COPIED], np.int32), answer=40, rows=4)
    purse = made._sources[0][1]
    purse.credit = 0.0
    made.next_ids(COPIED[-1], room=30)
    made.add(62)  # 60 was watched, and is not what came
    assert purse.credit == 0
    sizes = []
    for last, token in zip([62, 60, 61, *COPIED], [60, 61, *COPIED], strict=False):
        sizes.append(made.next_ids(last, room=30).size)
        made.add(token)
    assert sizes[:7] == [1, 1, 1, 1, 1, 1, 2]  # two in common, then four of a tenth
    assert made.accepted


def test_a_short_credit_buys_a_short_guess() -> None:
    """At a usual price the first credit is one row; each that is kept lets it grow."""
    made = Speculation(np.array([*COPIED, *COPIED[:2]], np.int32), answer=40, rows=4)
    sizes, at = [], 2
    while at < len(COPIED) - 3:
        rows = made.next_ids(COPIED[at - 1], room=30).size
        made.took(rows, 0.0)
        for token in COPIED[at : at + rows]:
            made.add(token)
        sizes, at = [*sizes, rows], at + rows
    assert sizes[:2] == [2, 3]
