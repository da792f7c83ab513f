"""Bounds by hand, refusals, isotonic maps and drift."""

import csv
import json
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanai.cli.mount import run
from lanai.errors import ConfigError, RouteError, UsageError
from router.drift import DriftMonitor
from router.guarantee import allowed_losses, bound_each, bound_regret, keep_most, upper_bound
from router.isotonic import CalibrationKey, IsotonicMap, pooled
from router.strict import Fields

KEY = CalibrationKey(model_sha256="a" * 64, quantization="Q4_1", signal="margin")


def test_the_upper_bound_is_clopper_pearson():
    """Against published values (k of n, one-sided 95%) and the closed form at no loss."""
    assert upper_bound(0, 59, 0.05) == pytest.approx(1 - 0.05 ** (1 / 59))
    assert upper_bound(3, 20, 0.05) == pytest.approx(0.3437, abs=1e-4)
    assert upper_bound(20, 20, 0.05) == 1.0


def test_the_bound_ahead_is_the_count_of_all_arrangements():
    """Six rows, three of them ahead: every way to lay two regrets is counted."""
    ways = [sum(place >= 3 for place in laid) for laid in _pairs(6)]
    both_ahead = sum(count == 2 for count in ways) / comb(6, 2)
    assert allowed_losses(3, 3, alpha=0.5, delta=2 * both_ahead + 1e-9) is not None
    assert allowed_losses(3, 3, alpha=0.5, delta=2 * both_ahead - 1e-9) is None


def _pairs(count):
    return [(i, j) for i in range(count) for j in range(i)]


@given(st.integers(1, 400), st.integers(1, 400), st.floats(0.01, 0.5), st.floats(0.01, 0.4))
def test_what_is_allowed_is_within_the_rate_bound(count, ahead, alpha, delta):
    """Never more than Clopper–Pearson allows, whatever lies ahead."""
    allowed = allowed_losses(count, ahead, alpha=alpha, delta=delta)
    if allowed is not None:
        assert upper_bound(allowed, count, delta) <= alpha + 1e-6


def test_rows_of_equal_confidence_stay_together():
    """A tie with a regret too many is sent whole."""
    confidence = np.array([0.9, 0.8, 0.8, 0.7])
    assert keep_most(confidence, np.array([0, 1, 0, 1], bool), 1) == 0.8
    assert keep_most(confidence, np.array([0, 1, 0, 1], bool), 0) == 0.9
    assert keep_most(confidence, np.array([1, 0, 0, 0], bool), 0) is None


def test_a_bound_is_refused_where_the_rows_cannot_give_one():
    """Too few rows, or the most confident ones wrong: an error that says which."""
    sure = np.linspace(0, 1, 400)
    none = np.zeros(400, bool)
    with pytest.raises(RouteError, match="cannot bound"):
        bound_regret(sure[:20], none[:20], alpha=0.05, delta=0.1)
    with pytest.raises(RouteError, match="most confident"):
        bound_regret(np.ones(400), ~none, alpha=0.05, delta=0.1)
    with pytest.raises(UsageError):
        bound_regret(sure, none, alpha=0.0, delta=0.1)


def test_categories_share_delta_and_are_refused_one_by_one():
    """A category of three rows has no bound; the other keeps its own."""
    confidence, regret = np.linspace(0, 1, 303), np.zeros(303, bool)
    found = bound_each(confidence, regret, ["many"] * 300 + ["few"] * 3, alpha=0.05, delta=0.1)
    assert found["many"].delta == 0.05
    assert isinstance(found["few"], RouteError)


def test_pooling_is_the_nearest_rising_sequence():
    """By hand, with weights."""
    np.testing.assert_allclose(pooled(np.array([1.0, 3, 2, 4])), [1, 2.5, 2.5, 4])
    np.testing.assert_allclose(pooled(np.array([3.0, 0.0]), np.array([1.0, 2.0])), [1.0, 1.0])


def test_a_map_follows_the_frequencies_in_either_direction():
    """Rising or falling, it stays within (0, 1) and survives its JSON form."""
    random = np.random.default_rng(0)
    raw = random.random(2000)
    for sign in (1.0, -1.0):
        fitted = IsotonicMap.fit(KEY, sign * raw, random.random(2000) < raw)
        assert fitted.chance(KEY, sign * 0.8) == pytest.approx(0.8, abs=0.1)
        assert 0 < fitted.chance(KEY, -9.0) < 1
        assert fitted.chance(KEY, None) is None
        assert IsotonicMap.read(Fields(fitted.to_json_dict())) == fitted


def test_a_map_is_refused_for_another_model_quantization_or_signal():
    """Each part of the key counts."""
    fitted = IsotonicMap.fit(KEY, np.arange(9.0), np.arange(9) > 4)
    for other in (
        CalibrationKey(model_sha256="b" * 64, quantization="Q4_1", signal="margin"),
        CalibrationKey(model_sha256="a" * 64, quantization="3.5", signal="margin"),
        CalibrationKey(model_sha256="a" * 64, quantization="Q4_1", signal="entropy"),
    ):
        with pytest.raises(ConfigError):
            fitted.chance(other, 1.0)


def test_drift_is_noticed_and_sameness_is_not():
    """A shifted window alarms; two hundred windows of the same kind do not."""
    random = np.random.default_rng(1)
    monitor = DriftMonitor(random.normal(size=2000), window=100)
    same = [monitor.observe(float(value)) for value in random.normal(size=20_000)]
    assert sum(found is not None for found in same) == 200
    assert sum(found.drifted for found in same if found) <= 2
    moved = [monitor.observe(float(value)) for value in random.normal(0.8, size=100)]
    assert moved[-1].drifted


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "results.csv"
    random = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "subject", "prompt", "weak_correct", "strong_correct", "confidence"])
        for row in range(600):
            sure = random.random()
            good = int(random.random() < sure)
            writer.writerow([row, f"s{row % 2}", f"question {row}", good, 1, sure])
    return path


def test_the_command_prints_a_threshold_and_its_bound(table, capsys):
    """By the column confidence; with --group each subject has its own."""
    assert run(["route", "calibrate", "--data", str(table), "--group", "subject", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["score"] == "confidence"
    assert 0 < document["kept"] < 1
    assert document["regret_bound"] <= 0.05
    assert set(document["categories"]) == {"s0", "s1"}


def test_the_command_claims_nothing_it_cannot_bound(table, capsys):
    """Exit 1, nothing on stdout."""
    assert run(["route", "calibrate", "--data", str(table), "--alpha", "0.0001"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "cannot bound" in captured.err
