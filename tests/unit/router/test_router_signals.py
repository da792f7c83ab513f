"""Each signal measures what it says, and nothing where it cannot."""

import math

import numpy as np
import pytest

from router import DecodeObservation, PrefillObservation
from router.signals import PREFILL_SIGNALS, DraftEntropy, DraftMargin, DraftRepetition, PromptLength


def draft(ids, entropy=None, margin=None, finished=False):
    length = len(ids)
    return DecodeObservation(
        ids=np.array(ids, dtype=np.int64),
        entropy=np.array(entropy if entropy is not None else [1.0] * length),
        margin=np.array(margin if margin is not None else [0.5] * length),
        finished=finished,
    )


def test_prefill_signals_read_the_first_token():
    """Entropy and margin as given, surprise and length as logarithms."""
    seen = PrefillObservation(input_tokens=20, entropy=2.5, margin=0.25, top_probability=0.5)
    values = {signal.name: signal.measure(seen) for signal in PREFILL_SIGNALS}
    assert values == {
        "first_token_entropy": 2.5,
        "first_token_margin": 0.25,
        "first_token_surprise": pytest.approx(math.log(2)),
        "prompt_length": pytest.approx(math.log(20)),
    }


def test_signals_without_a_value_are_none():
    """NaN, probability 0 and an empty prompt give no number instead of a wrong one."""
    seen = PrefillObservation(
        input_tokens=0, entropy=math.nan, margin=math.inf, top_probability=0.0
    )
    assert [signal.measure(seen) for signal in PREFILL_SIGNALS] == [None] * 4
    assert PromptLength().measure(seen) is None


def test_draft_signals_take_the_worst_full_window():
    """Highest mean entropy and lowest mean margin of any window so far."""
    entropy, margin = [0, 4, 4, 0, 0], [1, 1, 0, 0, 1]
    shown = draft([1, 2, 3, 4, 5], entropy, margin)
    assert DraftEntropy(2).measure(shown) == 4.0
    assert DraftMargin(2).measure(shown) == 0.0
    assert DraftEntropy(5).measure(shown) == pytest.approx(8 / 5)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_statistic_that_is_no_number_makes_the_signal_missing(bad):
    """One entropy that is not finite: no value, and no warning either."""
    shown = draft([1, 2, 3, 4, 5], [1.0, bad, -bad, 2.0, 1.0])
    assert DraftEntropy(2).measure(shown) is None


@pytest.mark.parametrize("signal", [DraftEntropy(4), DraftMargin(4), DraftRepetition(4)])
def test_a_window_not_full_yet_is_no_measurement(signal):
    """Until the window fills there is nothing; a finished draft counts with what it has."""
    assert signal.measure(draft([1, 2, 3])) is None
    assert signal.measure(draft([1, 2, 3], finished=True)) is not None
    assert signal.measure(draft([], finished=True)) is None


def test_repetition_counts_runs_seen_before():
    """Three tokens that stood in the draft earlier, in order, are a repetition; fewer are not."""
    assert DraftRepetition(6).measure(draft([1, 2, 3, 1, 2, 4])) == 0.0
    assert DraftRepetition(6).measure(draft([1, 2, 3, 1, 2, 3])) == pytest.approx(1 / 6)
    assert DraftRepetition(4).measure(draft([7] * 8)) == 1.0
