"""What a router would have to know, on grades whose truth is known."""

import numpy as np
import pytest

from bench.router_ceilings import ceilings, needed_auroc, tells_wins
from router.deferral import DeferralCurve
from router.results import Results

ROWS = 4000


@pytest.fixture(scope="module")
def results() -> Results:
    """Two subjects, of which the strong model wins one; it loses a few questions anywhere."""
    random = np.random.default_rng(0)
    hard = np.arange(ROWS) % 2 == 0
    weak = random.random(ROWS) < np.where(hard, 0.3, 0.9)
    strong = random.random(ROWS) < 0.9
    return Results(
        ids=tuple(str(row) for row in range(ROWS)),
        subjects=tuple("hard" if each else "easy" for each in hard),
        prompts=("",) * ROWS,
        weak=weak.astype(np.float64),
        strong=strong.astype(np.float64),
    )


def test_the_needed_auroc_gives_the_target(results: Results) -> None:
    """Scores that tell wins so well, and nothing else, have that APGR."""
    wins, found = results.gain > 0, []
    for seed in range(10):
        scores = np.random.default_rng(seed).normal(size=ROWS) + 0.6 * wins
        apgr = float(DeferralCurve.of(scores, results.weak, results.strong).apgr()[0])
        found.append(needed_auroc(results, apgr) - tells_wins(scores, results))
    assert np.mean(found) == pytest.approx(0.0, abs=0.01)


def test_a_random_order_needs_an_auroc_of_a_half(results: Results) -> None:
    """APGR of one half."""
    assert needed_auroc(results, 0.5) == pytest.approx(0.5)


def test_a_subject_that_tells_all_is_worth_its_share(results: Results) -> None:
    """With the gap in one half of the rows, sending that half first recovers three quarters."""
    found = ceilings(results, 500)
    assert found["subject"][500] == pytest.approx(0.75, abs=0.02)
    assert found["oracle"] > found["subject"][500]
