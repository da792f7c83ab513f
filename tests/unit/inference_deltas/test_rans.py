"""The entropy coder: what goes in comes out, at about the entropy, and noise is no message."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.deltas.rans import WHOLE, Contexts, Decoder, Encoded, Odds, Symbols, encode, odds_of


def drawn(
    seed: int, sizes: list[int], contexts: int, symbols: int
) -> list[tuple[Symbols, Contexts]]:
    """Parts whose symbols' odds differ from context to context."""
    random = np.random.default_rng(seed)
    share = random.dirichlet(np.full(symbols, 0.2), contexts)
    parts = []
    for size in sizes:
        at = random.integers(0, contexts, size)
        found = [random.choice(symbols, p=share[each]) for each in at]
        parts.append((np.array(found, np.uint8), at.astype(np.uint16)))
    return parts


def counted(parts: list[tuple[Symbols, Contexts]], contexts: int, symbols: int) -> Odds:
    counts = np.zeros((contexts, symbols), np.int64)
    for found, at in parts:
        np.add.at(counts, (at, found), 1)
    return odds_of(counts)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 999),
    sizes=st.lists(st.integers(0, 90), max_size=5),
    contexts=st.integers(1, 4),
    symbols=st.integers(1, 7),
    lanes=st.integers(1, 40),
)
def test_parts_come_back(
    seed: int, sizes: list[int], contexts: int, symbols: int, lanes: int
) -> None:
    """Empty ones too, any number of lanes; at the end everything is read."""
    parts = drawn(seed, sizes, contexts, symbols)
    odds = counted(parts, contexts, symbols)
    decoder = Decoder(encode(parts, odds, lanes=lanes), odds)
    for found, at in parts:
        assert decoder.decode(at).tolist() == found.tolist()
    assert decoder.done


def test_odds_are_whole_and_leave_nobody_out() -> None:
    """A symbol that came once in a million keeps a share; a context without any has none."""
    counts = np.array([[10**6, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 5]])
    odds = odds_of(counts)
    assert odds.sum(1).tolist() == [WHOLE, 0, WHOLE, WHOLE]
    assert ((odds > 0) == (counts > 0)).all()


def test_many_rare_symbols_do_not_use_up_a_common_one() -> None:
    """A hundred that came once beside 156 that came often: each keeps a share."""
    counts = np.array([[1] * 100 + [10**6] * 156])
    odds = odds_of(counts)
    assert odds.sum() == WHOLE
    assert (odds > 0).all()
    assert (odds <= WHOLE).all()


def test_it_takes_about_the_entropy() -> None:
    """Within two percent, beside the four bytes of each lane."""
    parts = drawn(1, [40_000], 3, 8)
    odds = counted(parts, 3, 8)
    (found, at), lanes = parts[0], 16
    entropy = -np.log2(odds[at, found] / WHOLE).sum() / 8
    made = encode(parts, odds, lanes=lanes)
    assert made.states.nbytes == 4 * lanes
    assert entropy * 0.98 <= made.words.nbytes <= entropy * 1.02


@pytest.mark.parametrize("damage", ["a bit", "cut short", "too long", "nothing"])
def test_a_changed_message_is_not_done(damage: str) -> None:
    """It gives symbols all the same, as many as were asked for."""
    parts = drawn(2, [5000], 2, 6)
    odds = counted(parts, 2, 6)
    made = encode(parts, odds, lanes=8)
    words = {
        "a bit": np.concatenate([made.words[:40], made.words[40:41] ^ 8, made.words[41:]]),
        "cut short": made.words[:-3],
        "too long": np.concatenate([made.words, made.words[:1]]),
        "nothing": made.words[:0],
    }[damage]
    decoder = Decoder(Encoded(states=made.states, words=words), odds)
    assert decoder.decode(parts[0][1]).size == 5000
    assert not decoder.done
