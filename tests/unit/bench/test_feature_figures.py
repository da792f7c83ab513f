"""Figures of `lanai bench features`: metrics, intervals, and the slips that are put into texts."""

import random

import pytest

from bench.feature_figures import auroc, f1, figures, mean, share
from bench.typos import mistyped


def test_metrics_are_of_sums_and_ranks() -> None:
    """Ties count half; cases without the number do not count; nothing to count is no figure."""
    sides = [{"a": 1.0, "b": 2.0, "y": 1}, {"a": 1.0, "b": 2.0, "y": 0}, {"y": 0}]
    assert mean("a")(sides) == 1.0
    assert share("a", "b")(sides) == 0.5
    assert f1("a", "a", "b")(sides) == pytest.approx(2 / 3)
    assert auroc("a", "y")(sides) == 0.5
    assert (mean("c")(sides), share("a", "c")(sides), auroc("a", "y")(sides[:1])) == (None,) * 3


def test_a_difference_is_paired() -> None:
    """Where one side is always better by as much, its interval has no width."""
    rows = [{"feature": {"x": n + 1.0}, "plain": {"x": float(n)}, "free": {}} for n in range(8)]
    timed = [row | {"feature_s": 1.0, "plain_s": 2.0} for row in rows]
    found = figures({"x": mean("x")}, timed)
    sides = found["figures"]["x"]
    assert sides["difference"] == {"value": 1.0, "ci": [1.0, 1.0]}
    assert sides["feature"]["ci"][0] < sides["feature"]["value"] < sides["feature"]["ci"][1]
    assert "free" not in sides
    assert (found["n"], found["seconds"]) == (8, {"feature": 1.0, "plain": 2.0})
    assert figures({"x": mean("x")}, [])["n"] == 0


def test_slips_are_few_and_repeatable() -> None:
    """Another text of the same words in the same order, one or two of them changed."""
    text = "Janet sells sixteen eggs every morning at the farmers' market for $2 each."
    for seed in range(30):
        wrong = mistyped(text, random.Random(seed), most=2)
        pairs = list(zip(text.split(), wrong.split(), strict=True))
        changed = [(a, b) for a, b in pairs if a != b]
        assert 1 <= len(changed) <= 2
        assert all(a[0] == b[0] and a[0].islower() for a, b in changed)
        assert wrong == mistyped(text, random.Random(seed), most=2)
