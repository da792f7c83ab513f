"""How fast a model runs on this device, and how fast this device's memory is, measured in turns.

Each round measures everything once, one after the other, so that what else the machine does meets
all of them; the figures are medians over the rounds. Random token ids; no text.
"""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from inference.decoder import LanguageModel

__all__ = [
    "Plan",
    "Runs",
    "TorchRuns",
    "large_pages_mb",
    "measure",
    "memory_reader",
    "resident_mb",
]

READ_BYTES: Final = 256 << 20  # well beyond any cache
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one round does."""

    prompt_tokens: int
    new_tokens: int
    rounds: int


class Runs(Protocol):
    """A loaded model that can be timed."""

    def prompt(self, ids: NDArray[np.int64]) -> None:
        """Forget everything, then read the ids."""

    def step(self, token: int) -> None:
        """Read one more token, its distribution included."""


class TorchRuns:
    """One of ours."""

    def __init__(self, model: "LanguageModel") -> None:
        self._model = model
        self._cache = model.new_cache(model.context_tokens)

    def prompt(self, ids: NDArray[np.int64]) -> None:
        self._cache.length = 0
        self._model.predict(ids, self._cache)

    def step(self, token: int) -> None:
        self._model.predict(np.array([token], np.int64), self._cache)


@dataclass(slots=True)
class _Times:
    """Rates of each round: tokens a second."""

    prefill: list[float] = field(default_factory=list)
    decode: list[float] = field(default_factory=list)

    def row(self) -> dict[str, float]:
        return {
            "prefill_tok_s": round(statistics.median(self.prefill), 1),
            "decode_tok_s": round(statistics.median(self.decode), 1),
        }


def measure(
    models: dict[str, Runs],
    read: Callable[[], float],
    plan: Plan,
    *,
    vocabulary: int,
    clock: Clock = time.perf_counter,
) -> tuple[dict[str, dict[str, float]], float]:
    """Rates of each of ``models``, and GB/s of ``read``: medians over the rounds.

    ``read`` gives the bandwidth it saw. A round before the first warms everything up.
    """
    times = {name: _Times() for name in models}
    bandwidth: list[float] = []
    for number in range(plan.rounds + 1):
        ids = np.random.default_rng(number).integers(0, vocabulary, plan.prompt_tokens)
        seen = read()
        for name, model in models.items():
            prefill, decode = _round(model, ids, plan.new_tokens, clock)
            if number:
                times[name].prefill.append(prefill)
                times[name].decode.append(decode)
        if number:
            bandwidth.append(seen)
    return {name: of.row() for name, of in times.items()}, round(statistics.median(bandwidth), 2)


def _round(
    model: Runs, ids: NDArray[np.int64], new_tokens: int, clock: Clock
) -> tuple[float, float]:
    began = clock()
    model.prompt(ids)
    prefill = len(ids) / (clock() - began)
    model.prompt(ids[:8])
    steps = []
    for token in ids[np.arange(new_tokens) % len(ids)].tolist():
        began = clock()
        model.step(token)
        steps.append(clock() - began)
    return prefill, 1 / statistics.median(steps)


def memory_reader(threads: int, clock: Clock = time.perf_counter) -> Callable[[], float]:
    """A reader of a large array with the kernels' threads, or torch's; GB/s of its best of three.

    The best: a read that was disturbed says nothing about the memory.
    """
    data = np.ones(READ_BYTES // 8, np.uint64)
    once = _reader(data, threads)

    def read() -> float:
        best = 0.0
        for _ in range(3):
            began = clock()
            once()
            best = max(best, READ_BYTES / (clock() - began) / 1e9)
        return best

    return read


def _reader(data: NDArray[np.uint64], threads: int) -> Callable[[], Any]:
    from inference.kernels import load_kernels

    kernels = load_kernels()
    if kernels is None:
        import torch

        words = torch.from_numpy(data.view(np.int32))
        return words.max
    pool = kernels.pool(threads)
    return lambda: kernels.read(pool, data)


def resident_mb() -> float:
    """Resident memory of this process in MB; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def large_pages_mb() -> float:
    """Mapped files of this process that lie in large pages, in MB; 0 where nobody says."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        found = [line.split() for line in lines if line.startswith("FilePmdMapped:")]
        return sum(int(kilobytes) for _, kilobytes, _ in found) * 1024 / 1e6
    except (OSError, ValueError):
        return 0.0
