"""A smaller model that guesses: what it reads and takes back, and when it is asked no more."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from device_agent.local import InstalledDevice
from inference.drafting import FEW, PIECE, DraftModel, Said
from inference.engine import Finished, GenerateOptions, Sampling, Token
from inference.process import ProcessEngine
from inference.runner import Prediction, step_alone
from inference.scheduler import Scheduler
from inference.testing import write_tiny_model
from inference.testing.random_openelm import openelm_settings, write_random_openelm
from lanai.errors import ConfigError

VOCABULARY = 2048
PROMPT = [3, 50, 9, 30]
Rule = Callable[[list[int]], int]


def onward(ids: list[int]) -> int:
    """Nothing of an answer repeats: it can only be guessed by knowing the rule."""
    return int(np.random.default_rng((len(ids), ids[-1])).integers(VOCABULARY))


def sometimes_wrong(ids: list[int]) -> int:
    return (onward(ids) + (len(ids) % 3 == 0)) % VOCABULARY


def always_wrong(ids: list[int]) -> int:
    return (onward(ids) + 1) % VOCABULARY


class Ruled:
    """A runner that expects what its rule says of all ids so far; passes take its time."""

    def __init__(self, rule: Rule, clock: "Clock", pass_s: float = 1.0) -> None:
        self.rule, self.clock, self.pass_s = rule, clock, pass_s
        self.passes: list[int] = []
        self.slots: list[RuledSlot] = []

    def begin(self, prompt: int, answer: int, adapter: str | None = None) -> "RuledSlot":
        self.slots.append(RuledSlot(self, prompt + answer))
        return self.slots[-1]

    def step(self, slots: Any, ids: NDArray[np.int32]) -> list[Prediction]:
        return step_alone(slots, ids)


class RuledSlot:
    most_rows = 4

    def __init__(self, runner: Ruled, capacity: int) -> None:
        self.runner, self.capacity = runner, capacity
        self.ids: list[int] = []
        self.told: list[NDArray[np.float32]] = []
        self.wiped = False

    def forward(self, ids: NDArray[np.int32]) -> Prediction:
        self._take(ids.size)
        self.ids += ids[:-1].tolist()
        return self._after(int(ids[-1]))

    def forward_each(self, ids: NDArray[np.int32]) -> list[Prediction]:
        self._take(ids.size)
        return [self._after(each) for each in ids.tolist()]

    def take_back(self, count: int) -> None:
        del self.ids[len(self.ids) - count :]

    def wipe(self) -> None:
        self.wiped = True

    def _take(self, rows: int) -> None:
        self.runner.passes.append(rows)
        self.runner.clock.now += self.runner.pass_s * (1 + 0.1 * (rows - 1))

    def _after(self, each: int) -> Prediction:
        self.ids.append(each)
        assert len(self.ids) <= self.capacity
        logits = np.random.default_rng(self.ids).standard_normal(VOCABULARY).astype(np.float32)
        logits[self.runner.rule(self.ids)] += 6
        self.told.append(logits)
        return Prediction(logits=logits, hidden=np.zeros(2, np.float32))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def answer(
    rule: Rule | None, *, draft_s: float = 0.1, prompt: list[int] = PROMPT, **changes: Any
) -> tuple[list[int], Finished, Ruled, Ruled | None]:
    """With a draft that follows ``rule``; ``None``: without one."""
    clock = Clock()
    runner = Ruled(onward, clock)
    drafts = None if rule is None else Ruled(rule, clock, draft_s)
    scheduler = Scheduler(runner, clock=clock, speculation=True, drafts=drafts)
    options = GenerateOptions(**({"max_tokens": 40, "speculation": True} | changes))
    scheduler.submit("it", np.array(prompt, np.int32), options)
    events: list[Any] = []
    while not scheduler.idle:
        events.extend(event for _, event in scheduler.step())
    return [each.id for each in events if isinstance(each, Token)], events[-1], runner, drafts


@pytest.mark.parametrize("rule", [onward, sometimes_wrong, always_wrong])
@pytest.mark.parametrize("temperature", [0.0, 0.8, 1.5])
def test_the_tokens_are_those_without_a_draft(rule: Rule, temperature: float) -> None:
    """Greedy and sampled, however good the guesses are."""
    sampling = Sampling(temperature=temperature, seed=3, top_p=0.95)
    plain, _, _, _ = answer(None, sampling=sampling)
    guessed, finished, _, _ = answer(rule, sampling=sampling)
    assert guessed == plain
    assert finished.accepted <= finished.drafted


def test_a_good_draft_saves_passes() -> None:
    """Three of four tokens come without a pass of their own; nothing could be looked up."""
    _, finished, runner, _ = answer(onward)
    assert finished.accepted == finished.drafted > 25
    assert len(runner.passes) < 16
    _, without, runner, _ = answer(None)
    assert without.accepted == 0
    assert len(runner.passes) == 40


def test_a_bad_draft_is_asked_no_more() -> None:
    """Once it has cost two passes, whatever follows."""
    _, finished, _, drafts = answer(always_wrong, max_tokens=200)
    assert finished.accepted == 0
    assert finished.drafted <= 12
    assert drafts is not None
    assert len(drafts.passes) <= 13


def test_a_slow_draft_is_asked_no_more() -> None:
    """Right every time, and as slow as the model itself: it saves nothing."""
    _, finished, _, _ = answer(onward, draft_s=1.0, max_tokens=200)
    assert finished.drafted < 30


def test_what_it_read_is_the_answer() -> None:
    """Wrong guesses are taken back: its cache holds what the model's holds, up to a guess."""
    _, _, runner, drafts = answer(sometimes_wrong, max_tokens=24)
    assert drafts is not None
    ours, theirs = runner.slots[0].ids, drafts.slots[0].ids
    shared = min(len(ours), len(theirs)) - 3
    assert shared > 10
    assert ours[:shared] == theirs[:shared]


def test_a_long_prompt_is_read_between_tokens() -> None:
    """A piece at a time, so that nobody waits; until then the answer goes on without guesses."""
    prompt = (np.arange(3 * PIECE) ** 2 % 61).tolist()
    tokens, finished, _, drafts = answer(onward, prompt=prompt)
    assert drafts is not None
    assert max(drafts.passes) == PIECE
    assert finished.accepted > 0
    assert tokens == answer(None, prompt=prompt)[0]


def test_nothing_of_it_stays() -> None:
    """Predictions, ids and cache are overwritten when the request ends."""
    _, _, _, drafts = answer(sometimes_wrong)
    assert drafts is not None
    (slot,) = drafts.slots
    assert slot.wiped
    assert not any(logits.any() for logits in slot.told)
    draft = DraftModel(Ruled(onward, Clock()).begin(9, 0), room=9)
    draft.guess(Said(np.array(PROMPT, np.int32), room=0), 3)
    assert draft._read.any()
    assert "6 of 9" in repr(draft)
    draft.wipe()
    assert not draft._read.any()


def test_it_is_ready_when_little_is_unread() -> None:
    """Few ids are read on the way to a guess."""
    draft = DraftModel(Ruled(onward, Clock()).begin(40, 0), room=40)
    ids = np.arange(30, dtype=np.int32)
    assert draft.ready(Said(ids[: FEW + 1], room=0))
    said = Said(ids, room=0)
    assert not draft.ready(said)
    assert draft.ready(said)
    assert draft.guess(said, 2).tolist()[0] == onward(ids.tolist())


async def told(engine: ProcessEngine, *, speculation: bool) -> tuple[list[int], Finished]:
    options = GenerateOptions(max_tokens=48, speculation=speculation)
    events = [event async for event in engine.submit(list(b"abcdefgh"), options)]
    last = events[-1]
    assert isinstance(last, Finished)
    return [event.id for event in events if isinstance(event, Token)], last


async def test_an_engine_guesses_with_a_second_model(tmp_path: Path) -> None:
    """In its child: the same weights draft for themselves, and the tokens are the same."""
    model = write_tiny_model(tmp_path / "model", seed=11)
    twin = write_tiny_model(tmp_path / "twin", seed=11)
    engine = await ProcessEngine.start(model, context_tokens=128, threads=1, draft=twin)
    try:
        plain, _ = await told(engine, speculation=False)
        guessed, finished = await told(engine, speculation=True)
    finally:
        await engine.close()
    assert guessed == plain
    assert finished.drafted > 0


async def test_a_draft_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """With another vocabulary: an error of the configuration, with a hint."""
    model = write_tiny_model(tmp_path / "model")
    small = openelm_settings("OpenELM-270M") | {
        "vocab_size": 400,
        "model_dim": 32,
        "head_dim": 16,
        "num_gqa_groups": 1,
        "num_transformer_layers": 2,
        "ffn_dim_divisor": 16,
        "num_query_heads": None,
        "num_kv_heads": None,
        "ffn_multipliers": [1.0, 2.0],
    }
    other = write_random_openelm(tmp_path / "other", small)
    with pytest.raises(ConfigError, match="draft") as caught:
        await ProcessEngine.start(model, context_tokens=128, threads=1, draft=other)
    assert "device_draft_model" in (caught.value.hint or "")
    device = InstalledDevice(
        model=str(model),
        models_folder=tmp_path,
        context_tokens=64,
        threads=1,
        draft_model=str(other),
    )
    with pytest.raises(ConfigError, match="other tokens"):
        await device.start(device.locate())
