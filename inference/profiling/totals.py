"""Allocations at a bit budget, and what each costs and buys in all."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from inference.formats.packed_matrix import PLAIN_BITS
from inference.packing.allocation import Option, allocate
from inference.packing.quantizer import Way
from inference.profiling.records import Allocation, Form, Measured, Totals

__all__ = ["at_budget", "frontier", "totals", "uniform"]

STEP: Final = 0.1


def at_budget(tensors: Sequence[Measured], bits: float, group: int) -> Allocation:
    """What packing would choose. Raises ``UsageError`` below the smallest there is."""
    body = [tensor for tensor in tensors if tensor.in_body]
    options = {tensor.name: _options(tensor, group) for tensor in body}
    chosen = {
        name: (way.bits, way.offsets)
        for name, way in allocate(options, bits * sum(t.weights for t in body)).items()
    }
    return Allocation(bits=round(bits, 4), chosen=chosen, totals=totals(tensors, chosen))


def _options(tensor: Measured, group: int) -> list[Option]:
    return [
        Option(
            way=Way(bits=form.bits, group=group, offsets=form.offsets),
            size=8 * form.bytes,
            cost=form.loss or 0.0,
        )
        for form in tensor.forms
        if form.bits < PLAIN_BITS
    ]


def frontier(tensors: Sequence[Measured], group: int) -> Iterator[Allocation]:
    """Every tenth of a bit from the smallest allocation to the largest."""
    body = [tensor for tensor in tensors if tensor.in_body]
    weights = sum(tensor.weights for tensor in body)

    def bits(pick: Callable[[list[Form]], Form]) -> float:
        small = (pick([f for f in t.forms if f.bits < PLAIN_BITS]) for t in body)
        return 8 * sum(form.bytes for form in small) / weights

    least, most = bits(lambda forms: forms[0]), bits(lambda forms: forms[-1])
    count = max(1, round((most - least) / STEP))
    for number in range(count + 1):
        # A byte more than the ends, so that rounding does not shut the smallest out.
        yield at_budget(tensors, least + (most - least) * number / count + 8 / weights, group)


def totals(tensors: Sequence[Measured], chosen: Mapping[str, tuple[int, bool]]) -> Totals:
    """Of ``chosen`` in the layers, the rest as it is always held."""
    pairs = [(each, each.form(*chosen.get(each.name, (PLAIN_BITS, False)))) for each in tensors]
    body = [(tensor, form) for tensor, form in pairs if tensor.in_body]
    read = [form for tensor, form in pairs if tensor.read]
    return Totals(
        body_bits=round(
            8 * sum(form.bytes for _, form in body) / sum(tensor.weights for tensor, _ in body), 4
        ),
        bytes=sum(form.bytes for _, form in pairs),
        latency_ms=round(sum(form.latency_us for form in read) / 1e3, 4),
        energy_mj=round(sum(form.energy_uj for form in read) / 1e3, 4),
        loss=round(sum(form.loss or 0.0 for _, form in body), 6),
    )


def uniform(tensors: Sequence[Measured]) -> dict[str, Totals]:
    """Every matrix of the layers in the same form, by its bits; ``4+`` has offsets."""
    body = next(tensor for tensor in tensors if tensor.in_body)
    names = [tensor.name for tensor in tensors if tensor.in_body]
    return {
        f"{form.bits}{'+' * form.offsets}": totals(
            tensors, dict.fromkeys(names, (form.bits, form.offsets))
        )
        for form in body.forms
    }
