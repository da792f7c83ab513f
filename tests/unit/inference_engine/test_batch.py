"""Rows of several requests in one pass: the same answers, and no way from one row to another."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.decoder import load_decoder
from inference.decoder_runner import DecoderRunner
from inference.runner import Prediction, Runner, Slot, step_alone
from inference.testing.tiny_model import TINY_VOCABULARY

ROOM = 64


@pytest.fixture(scope="module")
def runner(tiny_model: Path) -> Runner:
    return DecoderRunner(load_decoder(tiny_model, context_tokens=ROOM))


def prompt(seed: int, size: int) -> NDArray[np.int32]:
    return np.random.default_rng(seed).integers(0, TINY_VOCABULARY, size, dtype=np.int32)


def begun(runner: Runner, ids: NDArray[np.int32]) -> tuple[Slot, int]:
    slot = runner.begin(ROOM, 0)
    return slot, int(slot.forward(ids).logits.argmax())


def greedy(runner: Runner, prompts: list[NDArray[np.int32]], steps: int) -> list[list[int]]:
    """The answers, all growing together."""
    slots, tokens = zip(*(begun(runner, ids) for ids in prompts), strict=True)
    last, answers = np.array(tokens, dtype=np.int32), [[token] for token in tokens]
    for _ in range(steps):
        out = runner.step(slots, last)
        last = np.array([each.logits.argmax() for each in out], dtype=np.int32)
        for answer, token in zip(answers, last.tolist(), strict=True):
            answer.append(token)
    return answers


def test_answers_are_those_of_requests_alone(runner: Runner) -> None:
    """Prompts of different lengths, stepped together, give what each gives by itself."""
    prompts = [prompt(seed, size) for seed, size in enumerate((1, 5, 17, 30))]
    alone = [greedy(runner, [ids], 24)[0] for ids in prompts]
    assert greedy(runner, prompts, 24) == alone


def test_a_row_is_that_of_its_own_pass(runner: Runner) -> None:
    """Logits and hidden state of a step equal those of ``forward``, up to rounding."""
    prompts = [prompt(seed, 9) for seed in range(3)]
    ids = np.array([3, 4, 5], dtype=np.int32)
    together = runner.step([begun(runner, each)[0] for each in prompts], ids)
    apart = step_alone([begun(runner, each)[0] for each in prompts], ids)
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one.logits, other.logits, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(one.hidden, other.hidden, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("place", [0, 1, 3])
def test_neighbours_content_changes_no_bit(runner: Runner, place: int) -> None:
    """Whatever stands in the other rows, at whatever length, a row's numbers stay the same."""

    def watched(seed: int, size: int) -> Prediction:
        prompts = [prompt(seed + row, size) for row in range(4)]
        prompts[place] = prompt(99, 11)
        slots = [begun(runner, ids)[0] for ids in prompts]
        ids = prompt(seed, 4)
        ids[place] = 7
        runner.step(slots, ids)
        return runner.step(slots, ids)[place]

    first = watched(1, 8)
    for seed, size in ((20, 8), (40, 33), (60, 1)):
        again = watched(seed, size)
        assert np.array_equal(first.logits.view(np.uint32), again.logits.view(np.uint32))
        assert np.array_equal(first.hidden.view(np.uint32), again.hidden.view(np.uint32))


def test_a_wiped_slot_leaves_its_neighbours_alone(runner: Runner) -> None:
    """One request ends between two steps: the other's answer is what it would have been."""
    kept, token = begun(runner, prompt(1, 6))
    gone, other = begun(runner, prompt(2, 6))
    runner.step([kept, gone], np.array([token, other], dtype=np.int32))
    gone.wipe()
    after = runner.step([kept], np.array([9], dtype=np.int32))[0]
    alone, _ = begun(runner, prompt(1, 6))
    alone.forward(np.array([token], dtype=np.int32))
    expected = alone.forward(np.array([9], dtype=np.int32))
    np.testing.assert_allclose(after.logits, expected.logits, rtol=1e-3, atol=1e-3)
