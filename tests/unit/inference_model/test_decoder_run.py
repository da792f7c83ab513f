"""A decoder from GGUF: row order, caches, and calls that are wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from inference.decoder import load_decoder
from inference.formats.gguf_file import GgufFile
from inference.formats.sources import GgufSource
from lanai.errors import ContextOverflow, UsageError


def as_transformers(path: Path) -> transformers.LlamaForCausalLM:
    """The family's own class with the package's reading of the same file, settings and weights."""
    settings = load_gguf_checkpoint(str(path))["config"]
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings)).eval()
    tensors = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=model)["tensors"]
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], [])
    model.tie_weights()
    return model


@pytest.mark.parametrize("type_", [None, Type.Q4_1, Type.Q8_0, Type.F16])
def test_gguf_equals_transformers_reading_of_it(
    make_gguf: Callable[..., Path], type_: Type | None
) -> None:
    """Query and key rows are put back in order, and block types read the same."""
    path = make_gguf(type_=type_)
    decoder = load_decoder(path, context_tokens=32, precision="float32")
    ids = torch.arange(20)
    with torch.no_grad():
        expected = as_transformers(path)(ids[None]).logits[0]
    found = decoder.forward(ids, decoder.new_cache(32), all_logits=True).logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_four_bits_follow_float32(make_gguf: Callable[..., Path]) -> None:
    """The packed form of a 4-bit file, by prompt and by single tokens, stays near the reference."""
    path = make_gguf(type_=Type.Q4_1)
    exact = load_decoder(path, context_tokens=32, precision="float32")
    packed = load_decoder(path, context_tokens=32)
    ids = torch.arange(12)
    expected = exact.forward(ids, exact.new_cache(32)).logits[0]
    cache = packed.new_cache(32)
    for token in ids:
        stepped = packed.forward(token[None], cache).logits[0]
    prompt = packed.forward(ids, packed.new_cache(32)).logits[0]
    for found in (stepped, prompt):
        assert torch.nn.functional.cosine_similarity(found, expected, dim=0) > 0.995


def test_hidden_state_is_what_the_head_sees(gguf_model: Path) -> None:
    """The state handed to the router, times the shared embeddings, gives the logits."""
    decoder = load_decoder(gguf_model, context_tokens=16, precision="float32")
    run = decoder.forward(torch.arange(5), decoder.new_cache(16))
    table = GgufSource(GgufFile.open(gguf_model)).matrix("token_embd.weight").dense()
    torch.testing.assert_close(table @ run.hidden, run.logits[0], atol=1e-4, rtol=1e-4)


def test_wipe_leaves_nothing(gguf_model: Path) -> None:
    """After ``wipe`` every number of the cache is zero and it can be used anew."""
    decoder = load_decoder(gguf_model, context_tokens=16, precision="float32")
    cache = decoder.new_cache(16)
    first = decoder.forward(torch.arange(9), cache).logits
    assert any(rows.any() for rows in cache.keys)
    cache.wipe()
    assert cache.length == 0
    assert not any(rows.any() for rows in (*cache.keys, *cache.values))
    torch.testing.assert_close(decoder.forward(torch.arange(9), cache).logits, first)


def test_a_full_cache_overflows_before_anything_is_written(gguf_model: Path) -> None:
    """The error carries limit and use; what was in the cache still stands."""
    decoder = load_decoder(gguf_model, context_tokens=16)
    cache = decoder.new_cache(8)
    decoder.forward(torch.arange(6), cache)
    with pytest.raises(ContextOverflow) as caught:
        decoder.forward(torch.arange(3), cache)
    assert (caught.value.limit, caught.value.used, cache.length) == (8, 9, 6)


@pytest.mark.parametrize(
    "ids",
    [
        torch.tensor([], dtype=torch.int64),
        torch.tensor([[1]]),
        torch.tensor([1.0]),
        torch.tensor([48]),
        torch.tensor([57]),
        torch.tensor([-7]),
    ],
    ids=["none", "two dimensions", "floats", "one behind the last", "too large", "negative"],
)
def test_ids_that_are_no_tokens_are_refused(gguf_model: Path, ids: torch.Tensor) -> None:
    """The error names the fault and not the ids."""
    decoder = load_decoder(gguf_model, context_tokens=16)
    with pytest.raises(UsageError) as caught:
        decoder.forward(ids, decoder.new_cache(8))
    assert "7" not in str(caught.value)


def test_reprs_hide_numbers(gguf_model: Path) -> None:
    """Logits and cache rows are made from content; printing them shows sizes."""
    decoder = load_decoder(gguf_model, context_tokens=16)
    cache = decoder.new_cache(8)
    run = decoder.forward(torch.arange(3), cache)
    assert "tensor" not in repr(run) + repr(cache)
    assert repr(cache) == "<cache: 3 of 8 tokens>"


@pytest.mark.parametrize("tokens", [0, 17])
def test_a_cache_stays_within_the_loaded_context(gguf_model: Path, tokens: int) -> None:
    """Rotation tables end with the context; a larger cache would run past them."""
    with pytest.raises(UsageError):
        load_decoder(gguf_model, context_tokens=16).new_cache(tokens)
