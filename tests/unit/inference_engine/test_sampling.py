"""Drawing tokens: each filter does what it says, draws follow the distribution, seeds repeat."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from inference.engine import Sampling
from inference.sampling import Sampler, allowed_tokens, heaviest, nucleus, pick, statistics
from lanai.errors import EngineError

DRAWS = 20_000


def row(*probabilities: float) -> NDArray[np.float32]:
    return np.log(np.array(probabilities)).astype(np.float32)


def softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float64]:
    weights = np.exp(logits.astype(np.float64) / temperature)
    return weights / weights.sum()


def shares(sampling: Sampling, logits: NDArray[np.float32]) -> NDArray[np.float64]:
    sampler = Sampler(sampling)
    counted = Counter(sampler.draw(logits) for _ in range(DRAWS))
    return np.array([counted[i] / DRAWS for i in range(logits.size)])


def agree(seen: NDArray[np.float64], expected: NDArray[np.float64]) -> None:
    """Pearson's chi-squared over the tokens that can occur, at a level of about one in 10⁶."""
    possible = expected > 0
    assert not seen[~possible].any()
    surplus = DRAWS * ((seen - expected)[possible] ** 2 / expected[possible]).sum()
    degrees = possible.sum() - 1
    # Wilson–Hilferty: the chi-squared quantile from a normal one (z = 4.75).
    bound = degrees * (1 - 2 / (9 * degrees) + 4.75 * math.sqrt(2 / (9 * degrees))) ** 3
    assert surplus < bound


LOGITS = np.random.default_rng(0).standard_normal(40).astype(np.float32) * 2


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_tempered_softmax(temperature: float) -> None:
    """Twenty thousand draws fit softmax(logits / temperature)."""
    sampling = Sampling(temperature=temperature, seed=11)
    agree(shares(sampling, LOGITS), softmax(LOGITS, temperature))


def test_top_k_keeps_the_k_likeliest_and_renormalizes() -> None:
    """Only five tokens occur, with their shares of the five."""
    expected = softmax(LOGITS)
    expected[np.argsort(-expected)[5:]] = 0
    agree(shares(Sampling(temperature=1.0, top_k=5, seed=12), LOGITS), expected / expected.sum())


def test_top_p_keeps_the_smallest_set_that_reaches_p() -> None:
    """0.5 + 0.3 reach 0.75; the rest never occur."""
    seen = shares(Sampling(temperature=1.0, top_p=0.75, seed=13), row(0.05, 0.5, 0.15, 0.3))
    agree(seen, np.array([0, 0.5 / 0.8, 0, 0.3 / 0.8]))


def test_top_p_applies_to_what_top_k_leaves() -> None:
    """Of 0.5 and 0.3 renormalized, 0.5 alone reaches 0.6."""
    sampling = Sampling(temperature=1.0, top_k=2, top_p=0.6, seed=14)
    assert shares(sampling, row(0.05, 0.5, 0.15, 0.3))[1] == 1


def test_greedy_takes_the_likeliest_and_needs_no_seed() -> None:
    """Temperature 0 is the argmax, whatever the other options say."""
    sampler = Sampler(Sampling(temperature=0.0, top_k=3, top_p=0.1))
    assert all(sampler.draw(LOGITS) == LOGITS.argmax() for _ in range(5))


def test_a_tiny_temperature_is_greedy_not_an_overflow() -> None:
    """1e-6 draws the argmax without a warning."""
    sampler = Sampler(Sampling(temperature=1e-6, seed=1))
    assert all(sampler.draw(LOGITS) == LOGITS.argmax() for _ in range(20))


def test_equal_seeds_repeat_and_no_seed_does_not() -> None:
    """The seed alone decides; without one, two samplers part ways."""
    draws = [
        [sampler.draw(LOGITS) for _ in range(50)]
        for sampler in (Sampler(Sampling(temperature=1.5, seed=s)) for s in (5, 5, 6, None, None))
    ]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]
    assert draws[3] != draws[4]


@given(allowed=st.sets(st.integers(0, 69), min_size=1), temperature=st.sampled_from([0.0, 1.0]))
def test_a_mask_is_never_left(allowed: set[int], temperature: float) -> None:
    """Whatever is allowed, only that is drawn, across the words' edges too."""
    mask = np.zeros(3, dtype=np.uint32)
    for token in allowed:
        mask[token // 32] |= np.uint32(1) << np.uint32(token % 32)
    assert set(np.flatnonzero(allowed_tokens(mask, 70))) == allowed
    sampler = Sampler(Sampling(temperature=temperature, top_p=0.9, seed=3))
    logits = np.random.default_rng(1).standard_normal(70).astype(np.float32)
    assert sampler.draw(logits, mask) in allowed


@given(
    size=st.integers(1, 3000), p=st.floats(0.01, 1, exclude_max=True), flat=st.sampled_from([0, 5])
)
def test_the_nucleus_equals_that_of_a_full_sort(size: int, p: float, flat: int) -> None:
    """What is left out at once is never of the smallest set that sorting everything finds."""
    weights = np.exp(np.random.default_rng(size).standard_normal(size) * flat)
    chosen = nucleus(weights, p)
    mass = np.sort(weights)[::-1].cumsum()
    assert chosen.size == min(int(np.searchsorted(mass, p * weights.sum())) + 1, size)
    assert weights[chosen].sum() == pytest.approx(mass[chosen.size - 1])


@given(size=st.integers(1, 3000), share=st.floats(0, 1, exclude_min=True))
def test_the_heaviest_equal_those_of_a_full_sort(size: int, share: float) -> None:
    """Top-k of a row of several pieces, for any k."""
    weights = np.random.default_rng(size).random(size).astype(np.float32)
    count = max(1, int(share * size))
    assert (heaviest(weights, count) == np.sort(np.argsort(-weights)[:count])).all()


@given(size=st.integers(1, 3000), point=st.floats(0, 1, exclude_max=True))
def test_a_point_falls_where_all_weights_laid_end_to_end_have_it(size: int, point: float) -> None:
    """Pieces and their insides find what one long sum finds; what weighs nothing is never found."""
    random = np.random.default_rng(size)
    weights = (random.random(size) * random.integers(0, 2, size)).astype(np.float32)
    weights[random.integers(size)] = 1
    found, reached = pick(weights, point), np.cumsum(weights, dtype=np.float64)
    assert weights[found] > 0
    assert reached[found] >= (point - 1e-12) * reached[-1]
    assert reached[found] - weights[found] <= (point + 1e-12) * reached[-1]


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_logits_without_a_maximum_are_an_error(value: float) -> None:
    """A model that computes nonsense fails the request instead of answering token 0."""
    with pytest.raises(EngineError):
        Sampler(Sampling()).draw(np.full(8, value, dtype=np.float32))


def test_statistics_of_a_known_distribution() -> None:
    """Entropy, margin, top and the chosen token's log probability, against the definitions."""
    probabilities = [0.1, 0.6, 0.05, 0.25]
    seen = statistics(row(*probabilities), chosen=3)
    entropy = -sum(p * math.log(p) for p in probabilities)
    assert seen.entropy == pytest.approx(entropy, rel=1e-5)
    assert seen.margin == pytest.approx(0.35, rel=1e-5)
    assert seen.top_probability == pytest.approx(0.6, rel=1e-5)
    assert seen.chosen_log_probability == pytest.approx(math.log(0.25), rel=1e-5)


def test_statistics_ignore_a_shift_and_survive_a_certain_token() -> None:
    """Adding a constant changes nothing; one overwhelming logit has entropy 0, not -0 or nan."""
    assert statistics(LOGITS).entropy == pytest.approx(statistics(LOGITS + 300).entropy, rel=1e-3)
    sure = statistics(np.array([0, 5000, 0], dtype=np.float32), chosen=1)
    assert (sure.entropy, sure.top_probability, sure.margin) == (0, 1, 1)
    assert sure.chosen_log_probability == 0
