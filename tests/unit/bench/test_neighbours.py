"""The arithmetic of ``lanai bench neighbours``."""

import random

from bench.neighbours import Pace, _content, _differences


def paces(token_ms: float, seed: int) -> list[Pace]:
    """Forty rounds around ``token_ms``, with half a millisecond of noise."""
    draw = random.Random(seed)
    return [
        Pace(first_ms=30 + draw.gauss(0, 2), token_ms=draw.gauss(token_ms, 0.5)) for _ in range(40)
    ]


def test_equal_paces_differ_by_nothing() -> None:
    """Where both kinds run alike, the interval holds zero."""
    found = _differences(paces(20, 1), paces(20, 2))["token"]
    assert found["low"] < 0 < found["high"]


def test_a_slower_kind_is_seen() -> None:
    """A millisecond more a token is outside chance."""
    found = _differences(paces(20, 1), paces(21, 2))["token"]
    assert 0 < found["low"] < found["median"] < found["high"] < 2


def test_both_kinds_are_of_one_length() -> None:
    """What differs between the kinds is content alone."""
    draw = random.Random(1)
    assert len(_content("one token", draw)) == len(_content("many tokens", draw))
    assert len(set(_content("one token", draw))) == 1 < len(set(_content("many tokens", draw)))
