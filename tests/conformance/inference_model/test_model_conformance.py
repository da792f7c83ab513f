"""The real models: logits against ``transformers``, perplexity, and a question with one answer.

``transformers`` fills a model from GGUF only with a package that is not needed here, so its own
reading of the file (tensors, names, row order) is loaded into its own model class.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from torch.nn import functional
from transformers.initialization import no_init_weights
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from inference.decoder import Decoder, load_decoder
from inference.formats import locate
from inference.text import ChatMessage, load_text_model
from lanai.content import Content

# A model is loaded three times for its first test.
pytestmark = pytest.mark.timeout(900)

PROMPT = 128  # logits of 262,144 tokens each: 128 MiB a copy


def smollm2_class() -> transformers.PreTrainedModel:
    """SmolLM2-135M as its makers configured it."""
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=49152,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            max_position_embeddings=8192,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
            tie_word_embeddings=True,
        )
    )


def gemma3_class() -> transformers.PreTrainedModel:
    """Gemma 3 270M as its makers configured it."""
    return transformers.Gemma3ForCausalLM(
        transformers.Gemma3TextConfig(
            vocab_size=262144,
            hidden_size=640,
            intermediate_size=2048,
            num_hidden_layers=18,
            num_attention_heads=4,
            num_key_value_heads=1,
            head_dim=256,
            sliding_window=512,
            query_pre_attn_scalar=256,
            rope_parameters={
                "full_attention": {"rope_type": "default", "rope_theta": 1_000_000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
            },
        )
    )


CLASSES = {"smollm2": smollm2_class, "gemma3": gemma3_class}


def prompt_of(folder: Path, data_folder: Path, count: int) -> Tensor:
    """The beginning of the validation text, after the model's first token if it has one."""
    model = load_text_model(folder)
    text = (data_folder / "text/wikitext2_valid.txt").read_text()[: 8 * count]
    first = () if model.bos_id is None else (model.bos_id,)
    return torch.tensor([*first, *model.encode(text)][:count])


def reference_model(name: str, folder: Path) -> Any:
    """The file's weights, float32, as ``transformers`` reads them, in its own model class."""
    with no_init_weights():  # numbers that are replaced at once need no memory
        model: Any = CLASSES[name]().eval()
    path = str(locate(folder).weights)
    read = load_gguf_checkpoint(path, return_tensors=True, model_to_load=model)
    missing, unexpected = model.load_state_dict(read["tensors"], strict=False, assign=True)
    assert (missing, unexpected) == (["lm_head.weight"], [])
    model.tie_weights()
    return model


def logits_of(decoder: Decoder, ids: Tensor) -> Tensor:
    return decoder.forward(ids, decoder.new_cache(len(ids)), all_logits=True).logits


@dataclass(frozen=True, kw_only=True)
class Real:
    """One model as ``transformers`` runs it, and here: exactly, and as it runs by default."""

    folder: Path
    reference: Any
    exact: Decoder
    packed: Decoder
    texts: int
    """How many of the varied texts it is asked about."""


@pytest.fixture(scope="module", params=[("smollm2", 120), ("gemma3", 60)], ids=lambda p: p[0])
def real(request: pytest.FixtureRequest) -> Real:
    """Loaded once for its tests, one model after the other."""
    name, texts = request.param
    folder: Path = request.getfixturevalue(name)
    return Real(
        folder=folder,
        reference=reference_model(name, folder),
        exact=load_decoder(folder, context_tokens=512, precision="float32"),
        packed=load_decoder(folder, context_tokens=512),
        texts=texts,
    )


def test_logits_equal_those_of_transformers(real: Real, data_folder: Path) -> None:
    """float32 to about 1e-3; as it runs by default, the same likeliest token nearly everywhere."""
    ids = prompt_of(real.folder, data_folder, PROMPT)
    with torch.no_grad():
        expected: Tensor = real.reference(ids[None]).logits[0]
    torch.testing.assert_close(logits_of(real.exact, ids), expected, atol=3e-3, rtol=1e-3)
    packed = logits_of(real.packed, ids)
    same = (packed.argmax(-1) == expected.argmax(-1)).float().mean()
    # Kullback-Leibler divergence of the default form from the exact one, in nats by token.
    divergence = functional.kl_div(
        packed.log_softmax(-1), expected.log_softmax(-1), log_target=True, reduction="sum"
    ) / len(ids)
    assert same > 0.93
    assert divergence < 0.02


def test_next_tokens_of_varied_texts_equal_those_of_transformers(
    real: Real, some_of: Callable[[int], list[str]]
) -> None:
    """After each of many texts of every script and kind: the same distribution, both forms."""
    text = load_text_model(real.folder)
    first = () if text.bos_id is None else (text.bos_id,)
    prompts = [
        torch.tensor([*first, *ids][:16])
        for each in some_of(real.texts)
        if (ids := text.encode(each))
    ]
    assert len(prompts) > 0.8 * real.texts
    expected = expected_last(real.reference, prompts)
    torch.testing.assert_close(last_logits(real.exact, prompts), expected, atol=1e-2, rtol=1e-3)
    packed = last_logits(real.packed, prompts)
    assert (packed.argmax(-1) == expected.argmax(-1)).float().mean() > 0.9
    divergence = functional.kl_div(
        packed.log_softmax(-1), expected.log_softmax(-1), log_target=True, reduction="sum"
    ) / len(prompts)
    assert divergence < 0.03


def expected_last(model: Any, prompts: list[Tensor]) -> Tensor:
    """``transformers``' logits after each prompt; those of one length are asked for together."""
    expected = torch.empty(len(prompts), model.config.vocab_size)
    for length in {len(ids) for ids in prompts}:
        at = [number for number, ids in enumerate(prompts) if len(ids) == length]
        for start in range(0, len(at), 32):
            part = at[start : start + 32]
            asked = torch.stack([prompts[number] for number in part])
            with torch.no_grad():
                expected[part] = model(asked, logits_to_keep=1).logits[:, -1]
    return expected


def last_logits(decoder: Decoder, prompts: list[Tensor]) -> Tensor:
    """Logits after each prompt, shape (prompts, vocabulary)."""
    return torch.cat([decoder.forward(ids, decoder.new_cache(len(ids))).logits for ids in prompts])


def test_decoding_by_tokens_equals_the_prompt(smollm2: Path, data_folder: Path) -> None:
    """The 4-bit kernels that decode and the bfloat16 product of prompts are one model."""
    decoder = load_decoder(smollm2, context_tokens=128)
    ids = prompt_of(smollm2, data_folder, 100)
    together = logits_of(decoder, ids)
    cache = decoder.new_cache(128)
    single = torch.cat([decoder.forward(token[None], cache).logits for token in ids])
    assert (single.argmax(-1) == together.argmax(-1)).float().mean() > 0.93
    divergence = functional.kl_div(
        single.log_softmax(-1), together.log_softmax(-1), log_target=True, reduction="sum"
    ) / len(ids)
    assert divergence < 0.01


def test_perplexity_of_the_packed_form(smollm2: Path, data_folder: Path) -> None:
    """Two windows of 512, second half scored: within 1.5% of float32."""
    ids = prompt_of(smollm2, data_folder, 1024).view(2, 512)
    losses = {}
    for precision in ("float32", "auto"):
        decoder = load_decoder(smollm2, context_tokens=512, precision=precision)  # type: ignore[arg-type]
        scored = [
            functional.cross_entropy(logits_of(decoder, window)[255:511], window[256:]).item()
            for window in ids
        ]
        losses[precision] = sum(scored) / len(scored)
    assert math.exp(losses["float32"]) < 18
    assert math.exp(losses["auto"] - losses["float32"]) < 1.015


def test_the_capital_of_australia(smollm2: Path) -> None:
    """Greedy, by template, from the packed weights: the known answer, then the end of turn."""
    text, decoder = load_text_model(smollm2), load_decoder(smollm2, context_tokens=256)
    question = ChatMessage(role="user", text=Content("What is the capital of Australia?"))
    cache, stream, shown = decoder.new_cache(256), text.decoder(), ""
    logits = decoder.forward(torch.tensor(text.render([question])), cache).logits
    for _ in range(20):
        token = int(logits.argmax())
        if token in text.stop_ids:
            break
        shown += stream.push(token)
        logits = decoder.forward(torch.tensor([token]), cache).logits
    else:
        pytest.fail("the answer did not end")
    assert shown + stream.finish() == "The capital of Australia is Canberra."
