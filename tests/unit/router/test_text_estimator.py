"""The estimator that reads prompts alone."""

import numpy as np

from router.text_estimator import PENALTY, TextEstimator
from router.text_features import Texts


def test_few_prompts_are_fitted_as_many_are():
    """Fewer prompts than columns: the weights are where the penalized error has no slope."""
    prompts = [f"Say {'hello' if row % 3 else 'how far'} {row * row}." for row in range(60)]
    weak, strong = (np.arange(60) % 3 > 0).astype(float), np.ones(60)
    texts = Texts.of(prompts)
    fitted = TextEstimator.fit(texts, weak, strong)
    rows = fitted.design.rows(texts)
    assert len(rows) < rows.shape[1]
    plain = (rows - fitted.heads.centre).astype(np.float64)
    missed = plain @ fitted.heads.weights - (np.column_stack([weak, strong]) - fitted.heads.base)
    np.testing.assert_allclose(plain.T @ missed, -PENALTY * fitted.heads.weights, atol=1e-5)
    assert np.corrcoef(fitted.benefit(texts), weak)[0, 1] < -0.9
