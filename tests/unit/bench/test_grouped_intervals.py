"""Intervals of values that come in groups, and how much of a measurement each start does."""

import pytest

from bench.intervals import grouped_median_interval, median_interval
from bench.isolation import share


def test_luck_that_a_group_shares_is_in_the_interval() -> None:
    """Forty values of four groups say as little as four, and the plain interval hides that."""
    groups = [[place + 0.01 * number for number in range(10)] for place in (-6.0, -2.0, 2.0, 6.0)]
    low, high = grouped_median_interval(groups)
    assert (low, high) == pytest.approx((-6.0, 6.0), abs=0.1)
    narrow = median_interval([value for group in groups for value in group])
    assert narrow[1] - narrow[0] < high - low


def test_values_of_one_group_are_drawn_as_they_are() -> None:
    """One start, as before there were several."""
    values = [float(number) for number in range(50)]
    low, high = grouped_median_interval([values, []])
    plain = median_interval(values)
    assert (low, high) == pytest.approx(plain, abs=3.0)


@pytest.mark.parametrize(("count", "starts"), [(50, 6), (8, 3), (2, 4)])
def test_every_run_is_some_starts(count: int, starts: int) -> None:
    """No start does more than one more than another."""
    shares = [share(count, starts, start) for start in range(starts)]
    assert sum(shares) == count
    assert max(shares) - min(shares) <= 1
