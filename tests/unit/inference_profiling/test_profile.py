"""What a profile says, against definitions, the packed file and the packer's own choice."""

import math
from pathlib import Path

import pytest
import torch

from inference.formats.packed import PackedFile
from inference.loading import load_source
from inference.packing.pack import pack
from inference.packing.quantizer import Way, rounded
from inference.profiling import Profile
from inference.profiling.energy import Energy
from inference.profiling.records import Measured
from inference.profiling.totals import at_budget
from inference.text import TextModel
from lanai.errors import UsageError

WORDS = "the quick brown fox jumps over the lazy dog, and the dog sleeps on. "
FORMS = [(2, False), (3, False), (4, False), (4, True), (8, False)]


@pytest.fixture(scope="module")
def body(profiled: Profile) -> list[Measured]:
    return [tensor for tensor in profiled.tensors if tensor.in_body]


def test_every_matrix_is_there_in_every_form(profiled: Profile, body: list[Measured]) -> None:
    """Seven matrices of each layer in all forms; the ends in 8 bits only."""
    assert len(body) == 7 * 2
    assert all([(f.bits, f.offsets) for f in each.forms] == FORMS for each in body)
    ends = [tensor for tensor in profiled.tensors if not tensor.in_body]
    assert [(each.name, each.read) for each in ends] == [("embedding", False), ("head", True)]
    assert all(form.latency_us >= 0 for each in profiled.tensors for form in each.forms)


def test_bytes_are_those_of_the_file(models: Path, body: list[Measured]) -> None:
    """The form a matrix is packed in has as many bytes as the file holds of it."""
    file = PackedFile.open(models / "packed" / "model.safetensors")
    for each in body:
        assert each.held is not None
        assert each.form(each.held.bits, each.held.offsets).bytes == each.held.bytes
        assert each.held.bytes == file.matrices[each.name].bytes


def test_more_bits_err_less(body: list[Measured]) -> None:
    """Of weights, of outputs and of the estimated loss, for every matrix."""
    for each in body:
        plain = [form for form in each.forms if not form.offsets]
        for figure in ("error", "output_error", "loss"):
            values = [getattr(form, figure) for form in plain]
            assert values == sorted(values, reverse=True), (each.name, figure)
        assert 0 < each.forms[-1].error < 0.02


def test_the_weight_error_is_that_of_plain_rounding(models: Path, body: list[Measured]) -> None:
    """8 bits: no weight is off by more than half a step of its row."""
    _, weights = load_source(models / "source", precision="float32")
    each = next(tensor for tensor in body if tensor.name == "layers.1.down")
    weight = weights.matrix("down", (each.rows, each.columns), 1).dense()
    half_a_step = weight.abs().amax(1, keepdim=True) / 127 / 2 * 1.01
    bound = float(half_a_step.expand_as(weight).norm() / weight.norm())
    assert each.form(8, False).error < bound
    even = rounded(weight, torch.ones(each.columns), Way(bits=2, group=32))
    assert each.form(2, False).error == pytest.approx(
        float((even - weight).norm() / weight.norm()), rel=0.2
    )


def test_packing_chooses_the_same(
    models: Path, text: TextModel, body: list[Measured], profiled: Profile
) -> None:
    """At one budget and one calibration text the allocation is the packer's."""
    packed = pack(models / "source", text, WORDS * 60, bits=3.6, say=lambda line: None)
    chosen = at_budget(body, 3.6, profiled.group).chosen
    theirs = {
        name: (matrix.bits, matrix.offsets is not None)
        for name, matrix in packed.matrices.items()
        if name.startswith("layers.")
    }
    assert chosen == theirs


def test_the_default_budget_is_what_is_packed(profiled: Profile, body: list[Measured]) -> None:
    """The allocation of the packed model comes out again, and its totals are sums."""
    for each in body:
        assert each.held is not None
        assert profiled.allocation.chosen[each.name] == (each.held.bits, each.held.offsets)
    forms = [each.form(*profiled.allocation.chosen[each.name]) for each in body]
    head = next(each for each in profiled.tensors if each.name == "head").forms[0]
    totals = profiled.allocation.totals
    assert totals.latency_ms * 1e3 == pytest.approx(
        sum(form.latency_us for form in [*forms, head]), abs=1
    )
    assert totals.loss == pytest.approx(sum(form.loss or 0 for form in forms), abs=1e-5)
    assert totals.body_bits == pytest.approx(profiled.allocation.bits, abs=0.01)


def test_more_budget_never_costs_more_loss(profiled: Profile) -> None:
    """Along the frontier bits and bytes rise and the estimated loss falls; it ends at the ends."""
    found = [each.totals for each in profiled.frontier]
    assert [t.body_bits for t in found] == sorted(t.body_bits for t in found)
    assert [t.loss for t in found] == sorted((t.loss for t in found), reverse=True)
    assert found[0] == profiled.uniform["2"]
    assert found[-1] == profiled.uniform["4+"]


def test_a_budget_below_the_smallest_is_refused(body: list[Measured], profiled: Profile) -> None:
    with pytest.raises(UsageError):
        at_budget(body, 1.9, profiled.group)


def test_the_estimated_loss_is_of_the_size_of_the_measured(profiled: Profile) -> None:
    """Perplexities are there; rounding to the allocation moves it, packing moves it no further."""
    scored = profiled.perplexity
    assert scored is not None
    assert scored.keys() == {"source", "packed", "allocation_rounded"}
    lost = math.log(scored["allocation_rounded"] / scored["source"])
    assert abs(lost) < 0.5


def test_a_rounded_cache_changes_little_but_something(profiled: Profile) -> None:
    """int8 keys and values alone change less than the kernels, whose activations are int8 too."""
    alone = profiled.cache["int8"]
    assert alone.tokens == 3 * 32
    assert 0 < alone.logit_error < 0.03
    assert alone.agreement > 0.9
    assert alone.perplexity == pytest.approx(alone.perplexity_float, rel=0.01)
    if "kernels" in profiled.cache:
        assert profiled.cache["kernels"].perplexity_float == alone.perplexity_float


def test_energy_is_counted_from_its_constants() -> None:
    """Bytes and multiplications times their picojoules; the default is dominated by memory."""
    energy = Energy(byte_pj=100, operation_pj=1)
    assert energy.of_product_uj(1000, 4000) == pytest.approx(0.104)
    assert Energy().of_product_uj(1 << 20, 0) > 50 * Energy().of_product_uj(0, 1 << 20)
