"""The differentiable decoder gives what the decoder that answers gives."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from inference.adapters import Adapter
from inference.decoder import load_decoder
from inference.training import LowRankChanges, TrainableDecoder
from inference.training.low_rank import GROUPS
from lanai.errors import UsageError


@pytest.mark.parametrize(("precision", "close"), [("float32", 1e-4), ("bfloat16", 0.2)])
def test_same_logits_as_the_decoder(
    tiny_folder: Path, precision: Literal["float32", "bfloat16"], close: float
) -> None:
    """Every token's logits are those of ``inference.decoder``."""
    ids = torch.randint(288, (40,), generator=torch.Generator().manual_seed(1))
    decoder = load_decoder(tiny_folder, context_tokens=40, precision=precision)
    wanted = decoder.forward(ids, decoder.new_cache(40), all_logits=True).logits
    model = TrainableDecoder.load(tiny_folder, precision=precision)
    found = model.logits(model.hidden(ids[None]))[0]
    assert (found - wanted).abs().max() < close * wanted.std()


def test_same_logits_of_every_variation(packed_folder: Path) -> None:
    """Biases, norms of heads, windows and scales are where the decoder has them."""
    ids = torch.randint(83, (17,), generator=torch.Generator().manual_seed(1))
    decoder = load_decoder(packed_folder, context_tokens=17, precision="float32")
    wanted = decoder.forward(ids, decoder.new_cache(17), all_logits=True).logits
    model = TrainableDecoder.load(packed_folder, precision="float32")
    found = model.logits(model.hidden(ids[None]))[0]
    assert (found - wanted).abs().max() < 1e-4 * wanted.std()


def test_sequences_do_not_see_each_other(tiny: TrainableDecoder) -> None:
    """A sequence in a batch, padding behind it, has the states it has alone."""
    ids = torch.randint(288, (2, 12), generator=torch.Generator().manual_seed(2))
    ids[1, 7:] = 0
    together, alone = tiny.hidden(ids)[1, :7], tiny.hidden(ids[1:, :7])[0]
    assert torch.allclose(together, alone, atol=1e-5)


def test_no_change_at_first(tiny: TrainableDecoder) -> None:
    """Fresh low-rank changes leave every number as it was."""
    ids = torch.arange(10)[None]
    fresh = LowRankChanges(tiny.config, rank=3)
    assert torch.equal(tiny.hidden(ids, fresh), tiny.hidden(ids))


def test_changes_are_added_to_the_matrices(tiny: TrainableDecoder) -> None:
    """The pass with changes is the pass with W + alpha / r * B A in the place of W."""
    changes = LowRankChanges(tiny.config, rank=3, alpha=6.0)
    random = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for b in changes.b.values():
            b.copy_(0.05 * torch.randn(b.shape, generator=random))
    adapter = changes.adapter("some")
    merged = replace(
        tiny,
        layers=tuple(
            replace(
                layer,
                **{
                    group: getattr(layer, group)
                    + torch.cat([_product(adapter, f"layers.{index}.{part}") for part in parts])
                    for group, parts in GROUPS.items()
                },
            )
            for index, layer in enumerate(tiny.layers)
        ),
    )
    ids = torch.arange(10)[None]
    assert torch.allclose(tiny.hidden(ids, changes), merged.hidden(ids), atol=1e-4)


def _product(adapter: Adapter, name: str) -> torch.Tensor:
    pair = adapter.matrices[name]
    return torch.from_numpy(adapter.scale * (pair.b @ pair.a))


def test_too_long_a_sequence_is_refused(tiny: TrainableDecoder) -> None:
    """Beyond the model's context there is an error, not a wrong number."""
    with pytest.raises(UsageError, match="at most"):
        tiny.hidden(torch.zeros(1, tiny.config.max_context + 1, dtype=torch.int64))
