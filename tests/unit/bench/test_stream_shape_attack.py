"""The attack of ``lanai bench shape`` on made-up traffic: it finds what is there, and no more."""

from collections.abc import Callable

import numpy as np
import pytest

from bench.stream_shape_attack import Guess, Trace, attack, features
from bench.stream_shape_capture import Seen
from bench.stream_shape_prompts import Prompt, Topics, prompts
from cloud_node.tree.shaping import shaper_of
from protos.lanai.v1alpha.envelope_pb2 import CONSTANT, AnswerFrame, Final
from trust.envelope import SMALLEST_TOTAL

Make = Callable[[Prompt, np.random.Generator], tuple[list[int], list[float]]]


def attacked(make: Make, *, repeats: int = 2) -> list[Guess]:
    """Every prompt's made-up trace, attacked."""
    random = np.random.default_rng(1)
    traces = []
    for prompt in prompts(Topics.LAUNDERING) * repeats:
        sizes, times = make(prompt, random)
        traces.append(
            Trace(
                sizes=tuple(sizes),
                times=tuple(times),
                group=prompt.group,
                listened_for=prompt.listened_for,
            )
        )
    return attack(traces, splits=1)


def words(prompt: Prompt, random: np.random.Generator) -> list[tuple[int, float]]:
    """An answer: bytes and time of each piece. One topic has longer words, and more of them."""
    count = int(random.integers(14, 30)) + 6 * prompt.listened_for
    sizes = 1 + random.poisson(5.0 if prompt.listened_for else 4.0, count)
    times = 0.2 + np.cumsum(random.exponential(0.03, count))
    return list(zip(sizes.tolist(), times.tolist(), strict=True))


def unpadded(prompt: Prompt, random: np.random.Generator) -> tuple[list[int], list[float]]:
    said = words(prompt, random)
    return [40 + size for size, _ in said], [at for _, at in said]


def padded(prompt: Prompt, random: np.random.Generator) -> tuple[list[int], list[float]]:
    said = words(prompt, random)
    return [296] * len(said), [at for _, at in said]


def constant(prompt: Prompt, random: np.random.Generator) -> tuple[list[int], list[float]]:
    """The same words through the real shaper, received with a little noise."""
    shaper, times = shaper_of(CONSTANT, now=0.0), list[float]()

    def send_until(end: float) -> None:
        now = 0.0
        while (wait := shaper.next_due(now)) is not None and now + wait <= end:
            now += wait
            times.extend(now for _ in shaper.due(now))

    for size, at in words(prompt, random):
        send_until(at)
        shaper.add(AnswerFrame(text="x" * size), last=False)
    shaper.add(AnswerFrame(final=Final(finish_reason="stop")), last=True)
    send_until(3600.0)
    noise = np.abs(random.normal(0, 0.0005, len(times)))
    return [296] * len(times), (np.array(times) + noise).tolist()


def shaking(prompt: Prompt, random: np.random.Generator) -> tuple[list[int], list[float]]:
    """A clock that shakes as long as there is something to say."""
    sizes, times = constant(prompt, random)
    busy = int(20 * (1 + prompt.listened_for))
    shaken = np.array(times)
    shaken[:busy] += np.abs(random.normal(0, 0.01, busy))
    return sizes, shaken.tolist()


@pytest.mark.parametrize("make", [unpadded, padded, shaking])
def test_it_finds_what_shows(make: Make) -> None:
    """Sizes, the number of frames, and a clock that shakes with the work are all found."""
    assert all(guess.low > 0.6 for guess in attacked(make))


def test_a_constant_stream_shows_nothing() -> None:
    """Of answers of one bucket, no classifier says more than chance does."""
    sizes, _ = constant(prompts(Topics.LAUNDERING)[0], np.random.default_rng(1))
    assert len(sizes) == SMALLEST_TOTAL
    assert all(guess.low < 0.5 < guess.high for guess in attacked(constant))


def test_it_gives_the_same_figures_again() -> None:
    """Nothing in it is left to chance that differs between runs."""
    assert attacked(padded, repeats=1) == attacked(padded, repeats=1)


def test_a_subject_is_not_told_from_itself() -> None:
    """What marks a subject but not its topic is of no use: no subject is both learned and asked."""
    marks = {prompt.group: number for number, prompt in enumerate(prompts(Topics.LAUNDERING))}

    def marked(prompt: Prompt, random: np.random.Generator) -> tuple[list[int], list[float]]:
        mark = np.random.default_rng(marks[prompt.group]).integers(50, 250)
        return [int(mark)] * 20, np.cumsum(random.exponential(0.03, 20)).tolist()

    assert all(guess.low < 0.5 for guess in attacked(marked))


def test_traces_of_any_length_have_as_many_features() -> None:
    """One frame or many: one row of a table, finite throughout."""
    rows = [
        features(
            Trace(sizes=(1,) * n, times=tuple(map(float, range(n))), group="g", listened_for=True)
        )
        for n in (1, 5, 200)
    ]
    assert len({row.shape for row in rows}) == 1
    assert np.isfinite(rows).all()


@pytest.mark.parametrize("topics", Topics)
def test_topics_differ_in_their_subjects_alone(topics: Topics) -> None:
    """Each wording is used with every subject of both topics, as often."""
    asked = prompts(topics)
    assert len({prompt.text for prompt in asked}) == len(asked)
    listened = [prompt for prompt in asked if prompt.listened_for]
    assert 2 * len(listened) == len(asked)
    assert {prompt.group for prompt in listened}.isdisjoint(
        prompt.group for prompt in asked if not prompt.listened_for
    )


def test_the_control_takes_the_padding_away() -> None:
    """Text frames get the size they had without padding; nonce and final record keep theirs."""
    seen = Seen(
        group="g",
        listened_for=True,
        shape="padded",
        seed=1,
        frames=((0.1, 83), (0.2, 296), (0.3, 296), (0.4, 298)),
        pieces=(5, 254),
        first_s=0.2,
        total_s=0.4,
    )
    assert seen.trace.sizes == (83, 296, 296, 298)
    assert seen.unpadded.sizes == (83, 47, 296, 298)
    assert Seen.from_json(seen.to_json()) == seen
