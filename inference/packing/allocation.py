"""Which matrix gets how many bits, under a budget for all of them together."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inference.packing.quantizer import Way
from lanai.errors import UsageError

__all__ = ["Option", "allocate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One way to hold a matrix: its size in bits, scales included, and what it costs the loss."""

    way: Way
    size: float
    cost: float


def allocate(options: Mapping[str, Sequence[Option]], budget: float) -> dict[str, Way]:
    """The way of each matrix: from the smallest options up, always what saves most for its size.

    ``options``: by name, sizes ascending. Raises ``UsageError`` when the smallest do not fit.
    """
    chosen = dict.fromkeys(options, 0)
    left = budget - sum(steps[0].size for steps in options.values())
    if left < 0:
        raise UsageError("the bit budget is below the smallest there is", hint="ask for more bits")
    queue = [_step(name, steps, 0) for name, steps in options.items() if len(steps) > 1]
    heapq.heapify(queue)
    while queue:
        _, name = heapq.heappop(queue)
        steps, at = options[name], chosen[name]
        size = steps[at + 1].size - steps[at].size
        if size > left:
            continue
        left -= size
        chosen[name] = at + 1
        if at + 2 < len(steps):
            heapq.heappush(queue, _step(name, steps, at + 1))
    return {name: options[name][at].way for name, at in chosen.items()}


def _step(name: str, steps: Sequence[Option], at: int) -> tuple[float, str]:
    saved = steps[at].cost - steps[at + 1].cost
    return -saved / (steps[at + 1].size - steps[at].size), name
