"""The promised regret over 300 random splits of the shared data, beside the conformal average."""

import numpy as np
import pytest

from router.guarantee import allowed_losses, conformal_losses, keep_most
from router.results import read_ids, read_results
from router.text_estimator import TextEstimator
from router.text_features import Texts

SPLITS = 300
DELTA = 0.1


@pytest.fixture(scope="module", params=[("mmlu", 1500), ("gsm8k", 250)], ids=["mmlu", "gsm8k"])
def scored(request, data_folder):
    """Confidence and regret on rows that the text estimator was not fitted on."""
    name, labels = request.param
    folder = data_folder / "routing"
    listed = read_ids(folder / "routellm_contaminated_ids.csv")
    results = read_results(folder / f"routellm_{name}.csv").without_ids(listed)
    mixed = np.random.default_rng(0).permutation(len(results))
    rest = results.rows(mixed[labels:])
    fitted = results.rows(mixed[:labels]).without_prompts(rest)
    estimator = TextEstimator.fit(Texts.of(fitted.prompts), fitted.weak, fitted.strong)
    return -estimator.benefit(Texts.of(rest.prompts)), rest.gain > 0


def exceeded(confidence, regret, losses, alpha):
    """Shares of splits whose regret passes α: on the other half, and on all rows."""
    half, ahead, all_rows = len(regret) // 2, 0, 0
    for seed in range(SPLITS):
        mixed = np.random.default_rng(seed).permutation(len(regret))
        mine, rest = mixed[:half], mixed[half:]
        threshold = keep_most(confidence[mine], regret[mine], losses)
        if threshold is None:
            continue
        lost = (confidence >= threshold) & regret
        ahead += lost[rest].mean() > alpha
        all_rows += lost.mean() > alpha
    return ahead / SPLITS, all_rows / SPLITS


@pytest.mark.parametrize("alpha", [0.02, 0.05, 0.1])
def test_alpha_is_exceeded_in_at_most_delta_of_the_splits(scored, alpha):
    """On the unseen half, and over all rows; the average's threshold fails in over a third."""
    confidence, regret = scored
    half = len(regret) // 2
    allowed = allowed_losses(half, len(regret) - half, alpha=alpha, delta=DELTA)
    if allowed is None:  # 199 rows cannot promise 2%
        assert half < 200
        return
    assert max(exceeded(confidence, regret, allowed, alpha)) <= DELTA
    plain = conformal_losses(half, alpha=alpha)
    assert exceeded(confidence, regret, plain, alpha)[0] > 1 / 3
