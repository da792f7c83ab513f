"""Profiling a model. Plan of ``profile``:

1. the weights to be rounded, in float32: the model's own, or those its packed form was made from
2. what is lost of each matrix, in every way there is to hold it and as it is packed
3. how long each shape takes in each way, and a whole step of the packed model
4. the allocation at the budget, and at others for comparison
5. what keys and values in 8 bits change
6. perplexity of the source, of the packed model, and of the allocation with no error made up
   for; last, because it rounds the weights in place
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from inference.catalog import InstalledModel
from inference.catalog.progress import Progress, silent
from inference.decoder import LanguageModel, load_decoder
from inference.formats import locate
from inference.formats.packed import PackedFile
from inference.formats.packed_matrix import PackedMatrix
from inference.kernels import load_kernels
from inference.loading import load, load_source
from inference.packing.calibration import windows
from inference.packing.choice import group_for
from inference.packing.pack import WINDOWS, for_slopes
from inference.packing.quantizer import Way
from inference.profiling.cache_error import cache_errors
from inference.profiling.energy import Energy
from inference.profiling.errors import MatrixErrors, measure_errors, round_in_place
from inference.profiling.latency import latencies
from inference.profiling.matrices import Ends, measured, shapes_and_ways
from inference.profiling.records import CacheError, Measured, Profile
from inference.profiling.totals import at_budget, frontier, uniform
from inference.scoring import perplexity
from inference.text import TextModel
from lanai.errors import UsageError

__all__ = ["Plan", "profile"]

DEFAULT_BITS: Final = 3.5
CACHE_WINDOWS: Final = 3
STEPS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``bits``: ``None`` is what the packed model has, or 3.5. ``ids``: of a text to score, in
    ``chunks`` windows of ``window`` tokens."""

    threads: int
    calibration: str
    bits: float | None = None
    rounds: int = 7
    energy: Energy = field(default_factory=Energy)
    ids: Sequence[int] | None = field(default=None, repr=False)
    window: int = 512
    chunks: int = 8


def profile(
    model: InstalledModel,
    source: InstalledModel,
    text: TextModel,
    plan: Plan,
    progress: Progress = silent,
) -> Profile:
    """``source``: ``model`` itself, or what it was packed from. ``text``: of the source.

    Raises ``UnsupportedModel`` for families that cannot be packed, ``UsageError`` when the two do
    not belong together.
    """
    with torch.no_grad():
        work = _Profiler(model, source, plan, progress)  # 1
        pieces = windows(text, plan.calibration, WINDOWS)
        work.rounding(for_slopes(pieces))  # 2
        tensors = work.tensors()  # 3
        step_ms = work.step_ms()
        group = work.group
        allocation = at_budget(tensors, plan.bits or work.packed_bits(), group)  # 4
        others = tuple(frontier(tensors, group))
        cache = work.cache(pieces[-CACHE_WINDOWS:])  # 5
        scored = work.perplexities(allocation.chosen, text.bos_id)  # 6
    return Profile(
        name=model.name,
        source=source.name,
        path=work.path,
        threads=plan.threads,
        group=group,
        energy={"byte_pj": plan.energy.byte_pj, "operation_pj": plan.energy.operation_pj},
        tensors=tuple(tensors),
        allocation=allocation,
        frontier=others,
        uniform=uniform(tensors),
        step_ms=step_ms,
        cache=cache,
        perplexity=scored,
    )


class _Profiler:
    def __init__(
        self, model: InstalledModel, source: InstalledModel, plan: Plan, progress: Progress
    ) -> None:
        self._plan = plan
        self._progress = progress
        self._decoder, self._weights = load_source(source.path, precision="float32")
        self._kernels = load_kernels()
        self.path = f"kernels, {self._kernels.isa}" if self._kernels else "torch, bfloat16"
        self.group = group_for(self._decoder.config, self._weights, plan.bits or DEFAULT_BITS)
        self._model = model
        self._found: dict[str, MatrixErrors] = {}
        self._packed: Mapping[str, PackedMatrix] = {}
        self._running: LanguageModel | None = None
        if model.format == "packed":
            self._open()

    def _open(self) -> None:
        file = PackedFile.open(locate(self._model.path).weights)
        if file.config != self._decoder.config:
            raise UsageError(
                f"{self._model.name} was not packed from that source",
                hint="--source NAME of the model it was packed from",
            )
        self.group, self._packed = file.group, file.matrices
        self._running = load_decoder(self._model.path, context_tokens=self._room())

    def _room(self) -> int:
        wanted = max(self._plan.window, 2 * STEPS, 512)
        return min(wanted, self._decoder.config.max_context)

    def packed_bits(self) -> float:
        """Bits a weight of the layers as packed, or those of the packer's own default.

        A byte more than the file holds, so that rounding shuts nothing out that is in it.
        """
        body = [m for name, m in self._packed.items() if name.startswith("layers.")]
        if not body:
            return DEFAULT_BITS
        return 8 * (1 + sum(m.bytes for m in body)) / sum(m.shape[0] * m.shape[1] for m in body)

    def rounding(self, pieces: Sequence[Tensor]) -> None:
        """2."""
        self._progress("slopes", 0, 0)
        for each in measure_errors(
            self._decoder, self._weights, pieces, self.group, self._packed, self._tick("errors")
        ):
            self._found[each.name] = each

    def tensors(self) -> list[Measured]:
        """3."""
        found = list(self._found.values())
        ends = Ends.of(self._decoder.config, self._weights)
        times = latencies(
            shapes_and_ways(found, ends, self.group),
            self._kernels,
            threads=self._plan.threads,
            rounds=self._plan.rounds,
            tick=self._tick("latency"),
        )
        return measured(found, ends, times, self._packed, self._plan.energy, self.group)

    def step_ms(self) -> float | None:
        """Median of whole steps of the packed model."""
        if self._running is None:
            return None
        cache, times = self._running.new_cache(STEPS), []
        for token in range(STEPS):
            began = time.perf_counter()
            self._running.forward(torch.tensor([token]), cache)
            times.append(time.perf_counter() - began)
        return round(1e3 * statistics.median(times), 4)

    def cache(self, pieces: Sequence[Tensor]) -> dict[str, CacheError]:
        """5. Of the packed weights where there are any; on the text to score if one is given."""
        plan, room = self._plan, self._room()
        exact = self._decoder
        if self._running is not None:
            exact = load(self._model.path, context_tokens=room, device="cpu", precision="float32")
        if plan.ids is not None:
            whole = torch.tensor(plan.ids)
            firsts = range(0, min(CACHE_WINDOWS, plan.chunks) * plan.window, plan.window)
            pieces = [whole[first : first + plan.window] for first in firsts]
        return cache_errors(exact, self._running, pieces, self._tick("cache"))

    def perplexities(
        self, chosen: Mapping[str, tuple[int, bool]], bos_id: int | None
    ) -> dict[str, float] | None:
        """6. Afterwards the decoder is the rounded one."""
        plan = self._plan
        if plan.ids is None:
            return None

        def of(step: str, decoder: LanguageModel) -> float:
            self._progress(step, 0, 0)
            ids = plan.ids or ()
            return perplexity(
                decoder, ids, window=plan.window, chunks=plan.chunks, bos_id=bos_id
            ).perplexity

        scored = {"source": of("source", self._decoder)}
        if self._running is not None:
            scored["packed"] = of("packed", self._running)
        ways = {
            name: Way(bits=bits, group=self.group, offsets=offsets)
            for name, (bits, offsets) in chosen.items()
        }
        round_in_place(self._decoder, self._weights, self._found, ways)
        return scored | {"allocation_rounded": of("rounded", self._decoder)}

    def _tick(self, step: str) -> "_Tick":
        return _Tick(self._progress, step)


class _Tick:
    """One step of the ``Progress``."""

    def __init__(self, progress: Progress, step: str) -> None:
        self._progress = progress
        self._step = step

    def __call__(self, done: int, total: int) -> None:
        self._progress(self._step, done, total)
