"""What a profile holds, and how it is written as JSON."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Allocation", "CacheError", "Form", "Held", "Measured", "Profile", "Totals"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One number of bits for one matrix, no error made up for.

    ``latency_us``: one row through the product, weights from memory. ``error``: norm of the
    weights' change over that of the weights. ``output_error``: the same of the product, for inputs
    seen in the calibration text. ``loss``: what the error is estimated to cost, in nats a token.
    ``None``: not of the layers, so it is never rounded below 8 bits and has no calibration.
    """

    bits: int
    offsets: bool
    bytes: int
    latency_us: float
    energy_uj: float
    error: float
    output_error: float | None = None
    loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A matrix as the packed model holds it, its errors made up for."""

    bits: int
    offsets: bool
    bytes: int
    error: float
    output_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One matrix. ``forms`` ascend in size. ``read``: a decode step reads all of it."""

    name: str
    rows: int
    columns: int
    forms: tuple[Form, ...]
    held: Held | None = None
    read: bool = True

    @property
    def weights(self) -> int:
        return self.rows * self.columns

    @property
    def in_body(self) -> bool:
        return self.name.startswith("layers.")

    def form(self, bits: int, offsets: bool) -> Form:
        return next(form for form in self.forms if (form.bits, form.offsets) == (bits, offsets))


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Of all matrices: ``body_bits`` a weight of the layers; per token ``latency_ms``,
    ``energy_mj`` and ``loss`` in nats, an estimate that leaves out what packing makes up for."""

    body_bits: float
    bytes: int
    latency_ms: float
    energy_mj: float
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """The choice at a budget: ``bits`` a weight of the layers, scales included."""

    bits: float
    chosen: Mapping[str, tuple[int, bool]]
    totals: Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheError:
    """Against keys and values in float32, over ``tokens`` predictions of the same weights.

    ``logit_error``: relative, after each row's mean is taken off. ``divergence``: mean
    Kullback-Leibler divergence in nats. ``agreement``: share of the same likeliest token.
    """

    tokens: int
    logit_error: float
    divergence: float
    agreement: float
    perplexity: float
    perplexity_float: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """``step_ms``: a whole decode step of the model as it is, measured; ``None``: it is not packed.

    ``uniform``: totals with every matrix of the layers in the same form, for comparison.
    ``cache``: of int8 keys and values alone, and of ``kernels``, whose activations are int8 too.
    ``perplexity``: by state of the weights, of the text that was given.
    """

    name: str
    source: str
    path: str
    threads: int
    group: int
    energy: Mapping[str, Any]
    tensors: tuple[Measured, ...]
    allocation: Allocation
    frontier: tuple[Allocation, ...]
    uniform: Mapping[str, Totals]
    step_ms: float | None
    cache: Mapping[str, CacheError]
    perplexity: Mapping[str, float] | None

    @property
    def gain(self) -> dict[str, float]:
        """What the allocation buys a token, against 8 bits in every matrix, and what it costs.

        ``perplexity``: as a multiple of the source's, of the text where one was given, else by the
        estimated loss; of plain rounding in either case.
        """
        ours, plain = self.allocation.totals, self.uniform["8"]
        scored = self.perplexity
        cost = scored["allocation_rounded"] / scored["source"] if scored else math.exp(ours.loss)
        return {
            "latency_ms": plain.latency_ms - ours.latency_ms,
            "energy_mj": plain.energy_mj - ours.energy_mj,
            "bytes": plain.bytes - ours.bytes,
            "perplexity": cost,
        }

    def to_json(self) -> dict[str, Any]:
        """For ``--json`` and the page."""
        value = asdict(self)
        value["tensors"] = [_tensor(each) for each in self.tensors]
        value["allocation"] = _allocation(self.allocation)
        value["frontier"] = [_allocation(each) for each in self.frontier]
        value["gain"] = {key: _short(number) for key, number in self.gain.items()}
        return {"schema": "lanai.profile/1", **value}


def _tensor(tensor: Measured) -> dict[str, Any]:
    value = asdict(tensor)
    value["forms"] = [
        {key: _short(number) for key, number in asdict(form).items()} for form in tensor.forms
    ]
    return value


def _allocation(allocation: Allocation) -> dict[str, Any]:
    chosen = {
        name: {"bits": bits, "offsets": offsets}
        for name, (bits, offsets) in allocation.chosen.items()
    }
    return {"bits": allocation.bits, "totals": asdict(allocation.totals), "tensors": chosen}


def _short(number: float | None) -> float | None:
    """Six digits are more than is known."""
    return number if number is None or isinstance(number, int) else float(f"{number:.6g}")
