"""The products: every instruction set this processor has, against plain numpy."""

import ctypes
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inference.formats.packed import GROUPS
from inference.formats.packed_matrix import BITS, PackedMatrix, padded_columns
from inference.kernels import Kernels, structures
from inference.kernels.binding import ISAS, Pool, aligned
from inference.testing.random_packed import random_matrix
from lanai.errors import UsageError


@pytest.fixture(scope="module")
def pools(kernels: Kernels) -> dict[int, Pool]:
    return {threads: kernels.pool(threads) for threads in (1, 2, 3)}


def product(
    kernels: Kernels, pool: Pool, isa: str, matrix: PackedMatrix, x: NDArray[np.float32]
) -> NDArray[np.float32]:
    """x W^T by the kernels."""
    tables = None
    if matrix.palette is not None:
        tables = kernels.tables(matrix.bits, matrix.palette)

    def address(part: NDArray[np.generic] | None) -> int | None:
        return None if part is None else part.ctypes.data

    structure = structures.Matrix(
        codes=address(matrix.codes),
        tables=address(tables),
        scales=address(matrix.scales),
        offsets=address(matrix.offsets),
        row_scale=address(matrix.row_scale),
        rows=matrix.shape[0],
        columns=matrix.shape[1],
        bits=matrix.bits,
    )
    library, count = kernels.code, len(x)
    work = aligned(
        library.lanai_product_bytes(ctypes.byref(structure), matrix.group, count, pool.threads)
    )
    y = np.full((count, matrix.shape[0]), np.nan, np.float32)
    failed = library.lanai_product(
        ISAS.index(isa),
        pool.handle,
        ctypes.byref(structure),
        matrix.group,
        x.ctypes.data,
        count,
        y.ctypes.data,
        work.ctypes.data,
    )
    assert not failed
    return y


def bound(matrix: PackedMatrix, weight: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray:
    """What rounding x to 8 bits, group by group, may change: half a step times every weight."""
    columns, group = matrix.shape[1], matrix.group
    wide = padded_columns(columns, group)
    padded = np.pad(np.abs(x), ((0, 0), (0, wide - columns)))
    steps = padded.reshape(len(x), -1, group).max(-1) / 127
    sizes = np.pad(np.abs(weight), ((0, 0), (0, wide - columns)))
    return steps / 2 @ sizes.reshape(len(weight), -1, group).sum(-1).T


@given(
    rows=st.integers(1, 90),
    columns=st.integers(1, 200),
    count=st.integers(1, 14),
    bits=st.sampled_from(BITS),
    group=st.sampled_from(GROUPS),
    offsets=st.booleans(),
    threads=st.sampled_from((1, 2, 3)),
    seed=st.integers(0, 1 << 16),
)
@settings(deadline=None, max_examples=120)
def test_products_are_those_of_the_weights(
    kernels: Kernels,
    pools: dict[int, Pool],
    rows: int,
    columns: int,
    count: int,
    bits: int,
    group: int,
    offsets: bool,
    threads: int,
    seed: int,
) -> None:
    """Off by no more than 8-bit inputs can be, on every instruction set, one row or several."""
    random = np.random.default_rng(seed)
    matrix = random_matrix(random, rows, columns, bits, group, offsets=offsets and bits < 8)
    x = (random.standard_normal((count, columns)) * 10.0 ** random.integers(-4, 5)).astype(
        np.float32
    )
    weight = matrix.dense_rows(0, rows)
    exact = x.astype(np.float64) @ weight.T.astype(np.float64)
    allowed = bound(matrix, weight, x) * 1.001 + 1e-5 * np.abs(x) @ np.abs(weight).T
    for isa in kernels.available():
        y = product(kernels, pools[threads], isa, matrix, x)
        assert (np.abs(y - exact) <= allowed + 1e-30).all(), isa


def test_the_extremes_do_not_overflow(kernels: Kernels, pools: dict[int, Pool]) -> None:
    """Largest codes times largest inputs, both signs, over many columns: still exact."""
    random = np.random.default_rng(5)
    for bits in BITS:
        matrix = random_matrix(random, 16, 1536, bits, 64)
        codes = np.full_like(matrix.codes, 0xFF if bits < 8 else 0x81)
        palette = None if bits == 8 else np.full(1 << bits, -127, np.int8)
        extreme = PackedMatrix(
            shape=matrix.shape,
            bits=bits,
            group=64,
            codes=codes,
            row_scale=matrix.row_scale,
            palette=palette,
            scales=None if matrix.scales is None else np.full_like(matrix.scales, 255),
        )
        x = np.stack([np.ones(1536), -np.ones(1536)]).astype(np.float32)
        exact = x @ extreme.dense_rows(0, 16).T
        for isa in kernels.available():
            y = product(kernels, pools[1], isa, extreme, x)
            np.testing.assert_allclose(y, exact, rtol=1e-5)


def test_inputs_that_are_not_finite_do_not_crash(kernels: Kernels, pools: dict[int, Pool]) -> None:
    """NaN, infinity and denormals go through every path."""
    matrix = random_matrix(np.random.default_rng(6), 20, 64, 3, 32)
    x = np.zeros((3, 64), np.float32)
    x[0, 3], x[1, 5], x[2, 7] = np.nan, np.inf, 1e-42
    for isa in kernels.available():
        assert np.isfinite(product(kernels, pools[1], isa, matrix, x)[2]).all()


def test_the_threads_share_many_small_jobs(kernels: Kernels) -> None:
    """A thousand products in a row on four threads give the same result every time."""
    random = np.random.default_rng(7)
    matrix = random_matrix(random, 320, 64, 4, 32)
    x = random.standard_normal((1, 64)).astype(np.float32)
    pool = kernels.pool(4)
    first = product(kernels, pool, kernels.isa, matrix, x)
    for _ in range(1000):
        assert (product(kernels, pool, kernels.isa, matrix, x) == first).all()
    pool.close()
    pool.close()


@pytest.mark.parametrize("threads", [0, -1, 257, 1 << 40])
def test_numbers_of_threads_that_cannot_be_are_refused(kernels: Kernels, threads: int) -> None:
    """``UsageError`` with a hint; none is silently another number."""
    with pytest.raises(UsageError, match=str(threads)) as caught:
        kernels.pool(threads)
    assert caught.value.hint
    if abs(threads) < 1 << 31:
        assert kernels.code.lanai_pool_new(threads) is None


def test_threads_that_the_system_does_not_give_are_an_error() -> None:
    """``EngineError``, and those that did start have ended: the process goes on."""
    program = (
        "import resource, threading\n"
        "from inference.kernels import load_kernels\n"
        "from lanai.errors import EngineError\n"
        "kernels = load_kernels()\n"
        "kernels.pool(2).close()\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "room = used + (64 << 20)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (room, room))\n"
        "try:\n"
        "    kernels.pool(256)\n"
        "except EngineError as error:\n"
        "    print(error.hint, threading.active_count())\n"
        "kernels.pool(2).close()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ask for fewer 1\n"


def test_reading_reads_every_word(kernels: Kernels, pools: dict[int, Pool]) -> None:
    """The sum is that of all words, whatever the size and the threads."""
    for count in (1, 7, 8, (1 << 18) + 3):
        words = np.random.default_rng(count).integers(0, 1 << 60, count, dtype=np.uint64)
        for pool in pools.values():
            assert kernels.read(pool, words) == int(words.sum(dtype=np.uint64))
