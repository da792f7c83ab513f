"""Refining: layer by layer, all at once, and kept layers, on a tiny model."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from inference.formats.packed_matrix import PackedMatrix
from inference.packing.assembly import packed_matrix
from inference.packing.quantizer import Way, quantize
from inference.training import (
    Batch,
    DistillationLoss,
    Example,
    LowRankChanges,
    TrainableDecoder,
    TrainingSettings,
)
from inference.training.blocks import BlockError, BlockSettings, train_blocks, with_matrices
from inference.training.curvature import curvature_roots, relative
from inference.training.layer_store import LayerStore, run_digest
from inference.training.low_rank import GROUPS
from inference.training.refining import Refined, WholeRates, refine
from lanai.errors import UsageError

FEW = BlockSettings(epochs=2, at_once=2, curvature_sequences=4, rate=2e-2)


@pytest.fixture(scope="module")
def ids() -> torch.Tensor:
    return torch.randint(288, (16, 24), generator=torch.Generator().manual_seed(6))


@pytest.fixture(scope="module")
def matrices(tiny: TrainableDecoder) -> dict[str, PackedMatrix]:
    """The tiny model's layers in 3 bits."""
    found = {}
    shape = tiny.config.shapes[0]
    rows = {"q": shape.attention_width, "k": shape.kv_width, "v": shape.kv_width}
    rows |= {"gate": shape.ffn_width, "up": shape.ffn_width}
    way = Way(bits=3, group=32)
    for index, layer in enumerate(tiny.layers):
        for group, parts in GROUPS.items():
            whole = getattr(layer, group)
            cuts = [rows.get(part, len(whole)) for part in parts]
            for part, weight in zip(parts, torch.split(whole, cuts), strict=True):
                chosen = quantize(weight, torch.eye(weight.shape[1]), way)
                found[f"layers.{index}.{part}"] = packed_matrix(chosen, way)
    return found


@pytest.fixture(scope="module")
def packed(tiny: TrainableDecoder, matrices: dict[str, PackedMatrix]) -> TrainableDecoder:
    return with_matrices(with_matrices(tiny, 0, matrices), 1, matrices)


def divergence(model: TrainableDecoder, source: TrainableDecoder, ids: torch.Tensor) -> float:
    batch = Batch.of([Example.whole(row) for row in ids], range(len(ids)))
    nothing = LowRankChanges(model.config, rank=1)
    return DistillationLoss(teacher=source)(model, nothing, batch, backward=False).mean


def test_layers_learn_what_rounding_took(
    tiny: TrainableDecoder,
    packed: TrainableDecoder,
    matrices: dict[str, PackedMatrix],
    ids: torch.Tensor,
) -> None:
    """On held-out sequences each layer's error falls, and the whole model's divergence with it."""
    errors: list[BlockError] = []
    found = train_blocks(packed, matrices, tiny, ids[:12], ids[12:], FEW, on_layer=errors.append)
    assert [error.layer for error in errors] == [0, 1]
    assert all(error.after < 0.9 * error.before for error in errors)
    trained = with_matrices(with_matrices(tiny, 0, found), 1, found)
    assert divergence(trained, tiny, ids[12:]) < 0.9 * divergence(packed, tiny, ids[12:])
    assert {name: it.bytes for name, it in found.items()} == {
        name: it.bytes for name, it in matrices.items()
    }


def test_the_same_seed_trains_the_same(
    tiny: TrainableDecoder,
    packed: TrainableDecoder,
    matrices: dict[str, PackedMatrix],
    ids: torch.Tensor,
) -> None:
    """Two runs write the same bytes; another seed writes others."""
    runs = [
        train_blocks(
            packed,
            matrices,
            tiny,
            ids[:12],
            ids[12:],
            replace(FEW, seed=seed),
            on_layer=lambda _: None,
            layers=1,
        )["layers.0.down"].codes.tobytes()
        for seed in (0, 0, 1)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_curvature_foretells_divergence(tiny: TrainableDecoder) -> None:
    """A small error of the stream behind the last layer costs about what the estimate says, for
    text of the model's own."""
    random = torch.Generator().manual_seed(9)
    rows = torch.randint(288, (24, 1), generator=random)
    while rows.shape[1] < 24:
        logits = tiny.logits(tiny.hidden(rows)[:, -1])
        rows = torch.cat([rows, torch.multinomial(logits.softmax(-1), 1, generator=random)], 1)
    with torch.no_grad():
        stream = tiny.block(1, tiny.block(0, tiny.embedded(rows)))
        error = torch.randn(stream.shape, generator=random) * 0.03
        right, wrong = (
            tiny.logits(tiny.final(each)).log_softmax(-1) for each in (stream, stream + error)
        )
        cost = float((right.exp() * (right - wrong)).sum(-1).mean())
        root = curvature_roots(tiny, rows)[-1]
        told = float((relative(error, stream) @ root).square().sum(-1).mean() / 2)
    assert told == pytest.approx(cost, rel=0.3)


def test_a_stopped_run_goes_on(
    tiny: TrainableDecoder,
    packed: TrainableDecoder,
    matrices: dict[str, PackedMatrix],
    ids: torch.Tensor,
    tmp_path: Path,
) -> None:
    """Layers that are done are read, with the adapter that learnt along, and not learnt again; what
    comes out is what a run in one piece gives."""

    def trained(
        folder: Path, layers: int
    ) -> tuple[list[int], dict[str, PackedMatrix], torch.Tensor]:
        said: list[BlockError] = []
        changes = LowRankChanges(tiny.config, rank=2)
        found = train_blocks(
            packed,
            matrices,
            tiny,
            ids[:12],
            ids[12:],
            FEW,
            on_layer=said.append,
            changes=changes,
            store=LayerStore(folder, "run"),
            layers=layers,
        )
        return [error.layer for error in said], found, changes.b["layers.0.up"].detach()

    assert trained(tmp_path / "stopped", 1)[0] == [0]
    again, found, pair = trained(tmp_path / "stopped", 2)
    _, whole, other = trained(tmp_path / "whole", 2)
    assert again == [1]
    assert all((found[name].codes == whole[name].codes).all() for name in whole)
    assert (pair == other).all()


def test_layers_of_another_run_are_refused(
    matrices: dict[str, PackedMatrix], tmp_path: Path
) -> None:
    """Other settings, and a damaged file: errors that name what to delete."""
    store = LayerStore(tmp_path, run_digest("model", FEW))
    with pytest.raises(UsageError, match="another run"):
        LayerStore(tmp_path, run_digest("model", replace(FEW, seed=1)))
    store.put(0, {"layers.0.q": matrices["layers.0.q"]}, None)
    assert not list(tmp_path.glob("*.part"))
    (tmp_path / "layer-0.safetensors").write_bytes(b"\x10")
    with pytest.raises(UsageError, match="damaged"):
        store.take(0, {"layers.0.q": matrices["layers.0.q"]}, None)


@pytest.mark.parametrize("hold_codes", [False, True])
@pytest.mark.parametrize("rank", [0, 2])
def test_all_layers_learn_at_once(
    tiny: TrainableDecoder,
    packed: TrainableDecoder,
    matrices: dict[str, PackedMatrix],
    ids: torch.Tensor,
    hold_codes: bool,
    rank: int,
) -> None:
    """The divergence on held-out sequences falls, and what is returned has that divergence: the
    matrices as the file holds them, with the adapter that learnt along. Held codes stay."""
    settings = TrainingSettings(
        rate=3e-3, steps=16, tokens=96, warmup_steps=2, evaluate_every=8, epsilon=1e-12
    )
    changes = LowRankChanges(tiny.config, rank=rank) if rank else None
    refined = refine(
        packed,
        matrices,
        tiny,
        ids,
        None,
        settings,
        rates=WholeRates(rate=0.0 if hold_codes else 1e-2, number_rate=1.0),
        held_out=0.25,
        changes=changes,
        on_layer=lambda _: None,
    )
    assert refined.whole is not None
    before, after = refined.whole.before.held_out, refined.whole.best.held_out
    assert before is not None
    assert after is not None
    assert after < 0.95 * before
    same = [
        (refined.matrices[name].codes == matrices[name].codes).all() for name in refined.matrices
    ]
    assert all(same) == hold_codes
    assert refined.changes is changes
    assert changes is None or changes.b["layers.0.q"].any()


def test_the_adapter_learns_alone_behind_its_layers(
    tiny: TrainableDecoder,
    packed: TrainableDecoder,
    matrices: dict[str, PackedMatrix],
    ids: torch.Tensor,
) -> None:
    """With matrices held in part 2 they stay as part 1 left them, and the divergence falls; without
    an adapter there is nothing to learn."""
    settings = TrainingSettings(rate=1e-2, steps=16, tokens=96, evaluate_every=8)

    def refined(whole: TrainingSettings | None, changes: LowRankChanges | None) -> Refined:
        return refine(
            packed,
            matrices,
            tiny,
            ids,
            FEW,
            whole,
            rates=None,
            held_out=0.25,
            changes=changes,
            on_layer=lambda _: None,
        )

    before = refined(None, LowRankChanges(tiny.config, rank=2))
    after = refined(settings, LowRankChanges(tiny.config, rank=2))
    assert after.whole is not None
    assert after.whole.before.held_out is not None
    assert after.whole.best.held_out is not None
    assert after.whole.best.held_out < 0.95 * after.whole.before.held_out
    for name, matrix in before.matrices.items():
        assert (after.matrices[name].codes == matrix.codes).all()
        assert (after.matrices[name].scales == matrix.scales).all()
    with pytest.raises(UsageError, match="nothing is left"):
        refined(settings, None)


def test_what_does_not_fit_is_refused(
    tiny: TrainableDecoder,
    tiny_packed: TrainableDecoder,
    matrices: dict[str, PackedMatrix],
    ids: torch.Tensor,
) -> None:
    """Another source; matrices in 8 bits, which have nothing to learn."""
    plain = {name: replace(matrix, bits=8) for name, matrix in matrices.items()}
    for model, of, reason in ((tiny_packed, matrices, "source"), (tiny, plain, "8 bits")):
        with pytest.raises(UsageError, match=reason):
            refine(model, of, tiny, ids, FEW, None, rates=WholeRates(), on_layer=lambda _: None)
