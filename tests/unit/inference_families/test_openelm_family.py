"""The eight OpenELM models: sizes as published, and numbers as the paper's equations give them."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from inference.architectures import DecoderWeights, config_of_huggingface
from inference.architectures.recorded import config_from_json, config_to_json
from inference.decoder import load_decoder
from inference.loading import Forms, build
from inference.matrix import Matrix, PlainMatrix
from inference.testing.random_openelm import (
    MEMBERS,
    openelm_settings,
    openelm_shapes,
    write_random_openelm,
)
from inference.text import load_text_model
from lanai.errors import ModelFormatError

# What the paper rounds to 271 M, 457 M, 1.08 B and 3.04 B.
PARAMETERS = {
    "270M": 271_527_168,
    "450M": 457_179_136,
    "1_1B": 1_079_891_456,
    "3B": 3_036_647_424,
}
MULTIPLIERS_270M = [0.5, 0.73, 0.97, 1.2, 1.43, 1.67, 1.9, 2.13, 2.37, 2.6, 2.83, 3.07, 3.3]
MULTIPLIERS_270M += [3.53, 3.77, 4.0]
# Feed-forward widths in units of 256, as other implementations of the family list them.
FEED_FORWARD = {
    "270M": [3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20],
    "450M": [3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 21, 22, 23, 24],
    "1_1B": [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 18, *range(20, 33)],
    "3B": [
        *(6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18, 19, 20, 22, 23, 24, 25, 26),
        *(28, 29, 30, 31, 32, 34, 35, 36, 37, 38, 40, 41, 42, 43, 44, 46, 47, 48),
    ],
}


def size_of(member: str) -> str:
    return member.removeprefix("OpenELM-").removesuffix("-Instruct")


class Shapes:
    """A file of nothing but shapes; ``read`` counts the numbers of each tensor that was read."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        self.shapes = shapes
        self.read: Counter[str] = Counter()

    def has(self, name: str) -> bool:
        return name in self.shapes

    def matrix(self, name: str) -> Matrix:
        return PlainMatrix.of(self.vector(name))

    def vector(self, name: str) -> Tensor:
        self.read[name] += math.prod(self.shapes[name])
        return torch.empty(self.shapes[name], device="meta")


def published_shapes(member: str) -> dict[str, tuple[int, ...]]:
    """Tensors of the published file, from the lists above alone."""
    said, units = openelm_settings(member), FEED_FORWARD[size_of(member)]
    width, head = said["model_dim"], said["head_dim"]
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.token_embeddings.weight": (32_000, width),
        "transformer.norm.weight": (width,),
    }
    for layer, (queries, unit) in enumerate(zip(said["num_query_heads"], units, strict=True)):
        prefix = f"transformer.layers.{layer}."
        shapes |= {
            f"{prefix}attn.qkv_proj.weight": ((queries + queries // 4 * 2) * head, width),
            f"{prefix}attn.q_norm.weight": (head,),
            f"{prefix}attn.k_norm.weight": (head,),
            f"{prefix}attn.out_proj.weight": (width, queries * head),
            f"{prefix}attn_norm.weight": (width,),
            f"{prefix}ffn_norm.weight": (width,),
            f"{prefix}ffn.proj_1.weight": (2 * unit * 256, width),
            f"{prefix}ffn.proj_2.weight": (width, unit * 256),
        }
    return shapes


def test_there_are_eight() -> None:
    """Four sizes, each as it was trained and tuned to instructions."""
    assert len(set(MEMBERS)) == 8
    assert openelm_settings("OpenELM-270M")["ffn_multipliers"] == MULTIPLIERS_270M


@pytest.mark.parametrize("member", MEMBERS)
def test_every_layer_has_the_published_size(member: str) -> None:
    """A whole decoder is built of shapes alone: every tensor read once, each of its size."""
    source = Shapes(published_shapes(member))
    config = config_of_huggingface(openelm_settings(member))
    weights = DecoderWeights.of_huggingface(source, config)
    with torch.device("meta") as nowhere:
        decoder = build(config, weights, Forms.all("bfloat16"), nowhere, 2048)
    assert [len(decoder.layers), config.vocabulary, config.max_context] == [
        len(FEED_FORWARD[size_of(member)]),
        32_000,
        2048,
    ]
    assert source.read == {name: math.prod(shape) for name, shape in source.shapes.items()}
    for layer, shape in enumerate(config.shapes):
        of_layer = sum(count for name, count in source.read.items() if f".layers.{layer}." in name)
        heads = 2 * (shape.heads + shape.kv_heads) * shape.head_width
        norms = 2 * (config.width + shape.head_width)
        assert of_layer == config.width * (heads + 3 * shape.ffn_width) + norms
    assert source.read.total() == PARAMETERS[size_of(member)]


@pytest.mark.parametrize("member", MEMBERS[::2])
def test_layers_follow_from_two_numbers(member: str) -> None:
    """The lists of the published files are what the scaling rule gives of its two ends."""
    listed = openelm_settings(member)
    ends = {**listed, "ffn_multipliers": [0.5, 4.0], "num_query_heads": None, "num_kv_heads": None}
    assert config_of_huggingface(ends) == config_of_huggingface(listed)
    assert openelm_shapes(listed) == published_shapes(member)


SMALL: dict[str, Any] = openelm_settings("OpenELM-270M") | {
    "vocab_size": 400,
    "model_dim": 96,
    "head_dim": 16,
    "num_gqa_groups": 2,
    "num_transformer_layers": 4,
    "ffn_dim_divisor": 16,
    "ffn_multipliers": [0.5, 2.0],
    "num_query_heads": [4, 4, 6, 6],
    "num_kv_heads": [2, 2, 3, 3],
    "max_context_length": 128,
}
SMALL_FFN = [48, 96, 144, 192]


def by_the_paper(weights: dict[str, Tensor], ids: Tensor) -> Tensor:
    """Logits after the paper, in float64, head by head, each rotation a complex number."""

    def get(name: str) -> Tensor:
        return weights[f"transformer.{name}.weight"].double()

    def norm(x: Tensor, name: str) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * get(name)

    def turn(x: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        speeds = 10_000.0 ** -(torch.arange(half).double() / half)
        angles = torch.arange(len(x)).double()[:, None] * speeds
        spun = torch.complex(x[:, :half], x[:, half:]) * torch.polar(
            torch.ones_like(angles), angles
        )
        return torch.cat([spun.real, spun.imag], -1)

    x = get("token_embeddings")[ids]
    future = torch.ones(len(ids), len(ids)).triu(1).bool()
    for layer, (heads, keys) in enumerate(
        zip(SMALL["num_query_heads"], SMALL["num_kv_heads"], strict=True)
    ):
        of = f"layers.{layer}."
        rows = norm(x, of + "attn_norm") @ get(of + "attn.qkv_proj").T
        parts = rows.view(len(ids), heads + 2 * keys, 16).unbind(1)
        seen = []
        for head in range(heads):
            shared = head // (heads // keys)
            query = turn(norm(parts[head], of + "attn.q_norm"))
            key = turn(norm(parts[heads + shared], of + "attn.k_norm"))
            weight = (query @ key.T / 4).masked_fill(future, -math.inf).softmax(-1)
            seen.append(weight @ parts[heads + keys + shared])
        x = x + torch.cat(seen, -1) @ get(of + "attn.out_proj").T
        gate, up = (norm(x, of + "ffn_norm") @ get(of + "ffn.proj_1").T).chunk(2, -1)
        x = x + (gate * gate.sigmoid() * up) @ get(of + "ffn.proj_2").T
    return norm(x, "norm") @ get("token_embeddings").T


def random_weights(*, shared: bool) -> dict[str, Tensor]:
    torch.manual_seed(3)
    shapes = openelm_shapes(SMALL | {"share_input_output_layers": shared})
    return {
        name: torch.randn(shape) * 0.2 + (1.0 if len(shape) == 1 else 0.0)
        for name, shape in shapes.items()
    }


def test_logits_are_those_of_the_papers_equations(tmp_path: Path) -> None:
    """At once and token by token; layers of different widths; the embeddings are the head."""
    weights = random_weights(shared=True)
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    decoder = load_decoder(tmp_path, context_tokens=64, precision="float32")
    assert [shape.ffn_width for shape in decoder.config.shapes] == SMALL_FFN
    ids = torch.randint(0, 400, (37,))
    expected = by_the_paper(weights, ids).float()
    found = decoder.forward(ids, decoder.new_cache(64), all_logits=True).logits
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)
    cache = decoder.new_cache(64)
    steps = torch.cat([decoder.forward(one, cache).logits for one in torch.split(ids, 1)])
    torch.testing.assert_close(steps, expected, atol=2e-4, rtol=1e-4)


def test_a_head_of_its_own_is_used(tmp_path: Path) -> None:
    """With ``share_input_output_layers`` off the head's tensor gives the logits."""
    weights = random_weights(shared=False)
    settings = SMALL | {"share_input_output_layers": False}
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(settings))
    decoder = load_decoder(tmp_path, context_tokens=64, precision="float32")
    given = decoder.forward(torch.arange(9), decoder.new_cache(64))
    torch.testing.assert_close(given.logits[0], weights["lm_head.weight"] @ given.hidden)


def test_the_tokenizer_is_of_llamas_form(tmp_path: Path) -> None:
    """32,000 tokens with spaces as ``▁``, bytes for what has no piece, ``<s>`` before all."""
    settings = SMALL | {"vocab_size": 32_000}
    text = load_text_model(write_random_openelm(tmp_path / "elm", settings))
    assert (text.vocabulary, text.bos_id, text.stop_ids) == (32_000, 1, frozenset({2}))
    said = "née 👍 <s> the end"
    ids = text.encode(said)
    assert not {0, 1, 2} & set(ids)
    assert max(ids) >= 3 + 256  # pieces, not bytes alone
    stream = text.decoder()
    assert "".join([*map(stream.push, ids), stream.finish()]).lstrip() == said


def test_a_folder_without_a_tokenizer_says_whose_to_take(tmp_path: Path) -> None:
    """The published folders hold none: the error's hint says where it comes from."""
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    with pytest.raises(ModelFormatError, match="tokenizer") as caught:
        load_text_model(tmp_path)
    assert "LLaMA" in (caught.value.hint or "")


@pytest.mark.parametrize("member", MEMBERS[::2])
def test_a_packed_file_carries_the_settings(member: str) -> None:
    """As JSON and back they are the same, a shape for each run of equal layers."""
    config = config_of_huggingface(openelm_settings(member))
    written = json.loads(json.dumps(config_to_json(config)))
    assert config_from_json(written) == config
