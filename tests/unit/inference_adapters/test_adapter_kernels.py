"""The change of one matrix in the kernels: every instruction set, against plain numpy."""

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inference.adapters import Adapter, LowRank
from inference.adapters.rounding import to_int8_rows
from inference.formats.packed import GROUPS
from inference.formats.packed_matrix import padded_columns
from inference.kernels import Kernels
from inference.kernels.adapter_plan import AdapterPlan
from inference.kernels.binding import ISAS, Pool, aligned

Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def pools(kernels: Kernels) -> dict[int, Pool]:
    return {threads: kernels.pool(threads) for threads in (1, 2)}


def lifted(
    kernels: Kernels,
    pool: Pool,
    isa: str,
    pair: LowRank,
    alpha: float,
    group: int,
    x: Floats,
    y: Floats,
) -> Floats:
    """``y`` with the change of ``x``, by the kernels."""
    adapter = Adapter(name="one", rank=len(pair.a), alpha=alpha, matrices={"layers.0.q": pair})
    plan = AdapterPlan(adapter, layers=1, group=group)
    change, library = plan.layers[0].q, kernels.code
    work = aligned(library.lanai_product_bytes(ctypes.byref(change.a), group, len(x), pool.threads))
    inner = np.full((len(x), change.a.rows), np.nan, np.float32)
    out = y.copy()
    failed = library.lanai_lift(
        ISAS.index(isa),
        pool.handle,
        ctypes.byref(change),
        group,
        x.ctypes.data,
        len(x),
        out.ctypes.data,
        y.shape[1],
        inner.ctypes.data,
        work.ctypes.data,
    )
    assert not failed
    return out


def rounded(values: Floats) -> NDArray[np.float64]:
    codes, scale = to_int8_rows(values)
    return codes.astype(np.float64) * scale[:, None]


def bound(a: NDArray[np.float64], x: Floats, group: int) -> NDArray[np.float64]:
    """What rounding x to 8 bits, group by group, may change of A x."""
    columns = a.shape[1]
    wide = padded_columns(columns, group)
    padded = np.pad(np.abs(x), ((0, 0), (0, wide - columns)))
    steps = padded.reshape(len(x), -1, group).max(-1) / 127
    sizes = np.pad(np.abs(a), ((0, 0), (0, wide - columns)))
    found: NDArray[np.float64] = steps / 2 @ sizes.reshape(len(a), -1, group).sum(-1).T
    return found


@given(
    rows=st.integers(1, 70),
    columns=st.integers(1, 150),
    rank=st.integers(1, 70),
    count=st.integers(1, 19),
    group=st.sampled_from(GROUPS),
    alpha=st.sampled_from((0.5, 16.0)),
    threads=st.sampled_from((1, 2)),
    seed=st.integers(0, 1 << 16),
)
@settings(deadline=None, max_examples=80)
def test_changes_are_those_of_the_pair(
    kernels: Kernels,
    pools: dict[int, Pool],
    rows: int,
    columns: int,
    rank: int,
    count: int,
    group: int,
    alpha: float,
    threads: int,
    seed: int,
) -> None:
    """Off by no more than 8-bit inputs can be; added to what was there; nothing beside it."""
    random = np.random.default_rng(seed)

    def drawn(*shape: int) -> Floats:
        return (random.standard_normal(shape) * 10.0 ** random.integers(-3, 3)).astype(np.float32)

    pair, x, y = (
        LowRank(a=drawn(rank, columns), b=drawn(rows, rank)),
        drawn(count, columns),
        drawn(count, rows),
    )
    a, b = rounded(pair.a), rounded(pair.b)
    exact = y + alpha / rank * (x.astype(np.float64) @ a.T @ b.T)
    inner = bound(a, x, group) * 1.001 + 1e-5 * np.abs(x) @ np.abs(a).T
    allowed = (
        alpha / rank * (inner @ np.abs(b).T)
        + 1e-5 * (np.abs(exact) + np.abs(y))
        + 1e-6 * (alpha / rank * (np.abs(x) @ np.abs(a).T @ np.abs(b).T))
    )
    for isa in kernels.available():
        found = lifted(kernels, pools[threads], isa, pair, alpha, group, x, y)
        assert (np.abs(found - exact) <= allowed + 1e-30).all(), isa


def test_a_change_of_zeros_is_none(kernels: Kernels, pools: dict[int, Pool]) -> None:
    """As an adapter is before its first step of training: to the last bit."""
    random = np.random.default_rng(2)
    pair = LowRank(a=random.standard_normal((5, 40)).astype("f4"), b=np.zeros((23, 5), np.float32))
    x = random.standard_normal((3, 40)).astype("f4")
    y = random.standard_normal((3, 23)).astype("f4")
    for isa in kernels.available():
        assert (lifted(kernels, pools[1], isa, pair, 5.0, 32, x, y) == y).all()


def test_rounding_costs_a_hundredth_of_the_change() -> None:
    """8 bits for both halves: about one percent of what an adapter changes."""
    random = np.random.default_rng(3)
    for rows, columns in ((576, 576), (1536, 576), (576, 1536)):
        a = random.standard_normal((16, columns)).astype("f4")
        b = random.standard_normal((rows, 16)).astype("f4")
        exact = b @ a
        assert np.std(rounded(b) @ rounded(a) - exact) < 0.012 * np.std(exact)
