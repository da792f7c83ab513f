"""Recovery: the closed form, what a model writes itself, and the whole on a tiny model."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.decoder import load_decoder
from inference.testing.tiny_model import write_tiny_model
from inference.text import load_text_model
from inference.training import (
    Batch,
    DistillationLoss,
    Example,
    LowRankChanges,
    TrainableDecoder,
    TrainingSettings,
)
from inference.training.fitting import fit_changes
from inference.training.low_rank import GROUPS
from inference.training.recovery import recover
from inference.training.sequences import sequences_of
from inference.training.writing import write_sequences
from lanai.errors import UsageError


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(288, (12, 24), generator=torch.Generator().manual_seed(6))


def damaged(model: TrainableDecoder, groups: Iterable[str] = GROUPS) -> TrainableDecoder:
    """The model with its matrices, or some of them, rounded coarsely."""
    return replace(
        model,
        layers=tuple(
            replace(layer, **{group: (getattr(layer, group) * 2).round() / 2 for group in groups})
            for layer in model.layers
        ),
    )


def divergence(
    model: TrainableDecoder, source: TrainableDecoder, changes: LowRankChanges, ids: torch.Tensor
) -> float:
    batch = Batch.of([Example.whole(row) for row in ids], range(len(ids)))
    return DistillationLoss(teacher=source)(model, changes, batch, backward=False).mean


def test_full_rank_undoes_the_rounding(tiny: TrainableDecoder, ids: torch.Tensor) -> None:
    """With as many ranks as columns the closed form finds what rounding took, all but damping."""
    rounded = damaged(tiny)
    nothing = LowRankChanges(tiny.config, rank=1)
    fitted = fit_changes(rounded, tiny, ids, rank=32)
    before, after = (divergence(rounded, tiny, it, ids) for it in (nothing, fitted))
    assert after < 0.1 * before


def test_more_rank_is_nearer_on_new_text(tiny: TrainableDecoder, ids: torch.Tensor) -> None:
    """On sequences it has not seen, too, and it is nearer than nothing."""
    rounded = damaged(tiny)
    found = [
        divergence(rounded, tiny, changes, ids[8:])
        for changes in (
            LowRankChanges(tiny.config, rank=1),
            *(fit_changes(rounded, tiny, ids[:8], rank=rank) for rank in (4, 16)),
        )
    ]
    assert found[0] > found[1] > found[2]


def test_matrices_that_lost_nothing_get_no_change(
    tiny: TrainableDecoder, ids: torch.Tensor
) -> None:
    """What an adapter may take goes where rounding was; so it stays when it is read and trained."""
    rounded = damaged(tiny, ["output", "down"])
    fitted = fit_changes(rounded, tiny, ids[:8], rank=16)
    wanted = {
        f"layers.{at}.{part}" for at in range(tiny.config.layers) for part in ("output", "down")
    }
    assert fitted.a.keys() == fitted.b.keys() == wanted
    again = LowRankChanges.of(tiny.config, fitted.adapter("some"))
    assert again.a.keys() == wanted
    nothing = LowRankChanges(tiny.config, rank=1)
    before, after = (divergence(rounded, tiny, it, ids[8:]) for it in (nothing, again))
    assert after < 0.5 * before
    settings = TrainingSettings(rank=16, steps=2, tokens=96)
    assert recover(rounded, tiny, ids, settings).changes.adapter("some").matrices.keys() == wanted


def test_a_model_that_lost_nothing_needs_no_adapter(
    tiny: TrainableDecoder, ids: torch.Tensor
) -> None:
    """An adapter of no pairs would be none."""
    with pytest.raises(UsageError, match="lost nothing"):
        fit_changes(tiny, tiny, ids, rank=2)


def test_another_source_is_refused(
    tiny: TrainableDecoder, tiny_packed: TrainableDecoder, ids: torch.Tensor
) -> None:
    """Two models of different shapes cannot be of each other."""
    with pytest.raises(UsageError, match="not of this source"):
        fit_changes(tiny, tiny_packed, ids, rank=2)


def test_recovery_begins_with_the_closed_form(tiny: TrainableDecoder, ids: torch.Tensor) -> None:
    """Where distillation begins, the divergence on held-out sequences is far below the rounded
    model's."""
    rounded = damaged(tiny)
    settings = TrainingSettings(rank=16, steps=0, tokens=96)
    trained = recover(rounded, tiny, ids, settings)
    untrained = LowRankChanges(tiny.config, rank=16)
    bare = recover(rounded, tiny, ids, settings, begin_with=untrained)
    assert trained.before.held_out is not None
    assert bare.before.held_out is not None
    assert trained.before.held_out < 0.3 * bare.before.held_out


def test_distillation_lowers_the_divergence(tiny: TrainableDecoder) -> None:
    """From no changes at all, held-out sequences come nearer to the source's distribution."""
    ids = torch.randint(288, (48, 24), generator=torch.Generator().manual_seed(6))
    settings = TrainingSettings(rank=8, steps=30, tokens=192, evaluate_every=10, rate=0.01)
    untrained = LowRankChanges(tiny.config, rank=8)
    trained = recover(damaged(tiny), tiny, ids, settings, begin_with=untrained)
    assert trained.before.held_out is not None
    assert trained.best.held_out is not None
    assert trained.best.held_out < 0.95 * trained.before.held_out


def test_writing_is_repeatable_and_each_sequence_its_own(tiny_folder: Path) -> None:
    """The same seed writes the same; how many are written at once changes none of them."""
    text = load_text_model(tiny_folder)
    decoder = load_decoder(tiny_folder, context_tokens=12, precision="float32")
    written = write_sequences(decoder, text, count=8, length=12)
    assert written.shape == (8, 12)
    assert torch.equal(written, write_sequences(decoder, text, count=8, length=12))
    assert len({tuple(row.tolist()) for row in written}) == 8
    conversation = text.tokens.control["<|im_start|>"]
    assert [int(row[0]) == conversation for row in written] == [False, False, False, True] * 2


def test_kept_sequences_are_taken_again(tiny_folder: Path, tmp_path: Path) -> None:
    """The file is written once and read afterwards."""
    kept = tmp_path / "written"
    said: list[str] = []
    first = sequences_of(tiny_folder, kept, 4, 8, 0, say=said.append)
    again = sequences_of(tiny_folder, kept, 4, 8, 99, say=said.append)
    assert torch.equal(first, again)
    assert said == ["4 of 4 sequences written"]


def test_another_model_of_the_same_tokens_may_write(tiny_folder: Path, tmp_path: Path) -> None:
    """Its text is taken, the source is not asked; one of other tokens is refused before it writes,
    and so nothing is kept."""
    other = write_tiny_model(tmp_path / "other", seed=1)
    texts = sequences_of(tiny_folder, None, 4, 8, 0, writer=other, say=str)
    assert torch.equal(texts, sequences_of(other, None, 4, 8, 0, say=str))
    assert not torch.equal(texts, sequences_of(tiny_folder, None, 4, 8, 0, say=str))
    tokenizer = other / "tokenizer.json"
    known = json.loads(tokenizer.read_text(encoding="utf-8"))
    vocabulary = known["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    tokenizer.write_text(json.dumps(known), encoding="utf-8")
    kept = tmp_path / "written.npy"
    with pytest.raises(UsageError, match="other tokens"):
        sequences_of(tiny_folder, kept, 4, 8, 0, writer=other, say=str)
    assert not kept.exists()


@pytest.mark.parametrize("wrong", ["text", "floats", "ids", "objects"])
def test_a_file_of_something_else_is_refused(tiny_folder: Path, tmp_path: Path, wrong: str) -> None:
    """Not numpy's, of another type, ids beyond the vocabulary, pickles: an error, nothing run."""
    path = tmp_path / "kept.npy"
    match wrong:
        case "text":
            path.write_text("no numbers")
        case "floats":
            np.save(path, np.zeros((2, 3)))
        case "ids":
            np.save(path, np.full((2, 3), 288, np.int32))
        case "objects":
            np.save(path, np.array([[{}]]), allow_pickle=True)
    with pytest.raises(UsageError):
        sequences_of(tiny_folder, path, 4, 8, 0, say=print)
