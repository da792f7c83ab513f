"""``config.json`` of each family. Keys are those of the models' own configurations."""

from collections.abc import Callable

from inference.architectures.config import (
    DecoderConfig,
    LayerShape,
    Rope,
    checked_layers,
    split_evenly,
)
from inference.architectures.fields import FETCH_AGAIN, Fields
from inference.architectures.openelm import read_openelm
from lanai.errors import ModelFormatError, UnsupportedModel

__all__ = ["READERS"]

_GEMMA_PATTERN = 6  # five local layers, then a global one
_GEMMA_LOCAL_THETA = 10_000.0


def _llama(fields: Fields) -> DecoderConfig:
    # With it the output projection would have one too.
    fields.refuse("attention_bias")
    return _uniform(fields, window=None)


def _mistral(fields: Fields) -> DecoderConfig:
    return _uniform(fields, window=_window(fields))


def _qwen2(fields: Fields) -> DecoderConfig:
    fields.refuse("use_sliding_window")
    return _uniform(fields, window=None)


def _qwen3(fields: Fields) -> DecoderConfig:
    fields.refuse("use_sliding_window", "attention_bias")
    return _uniform(fields, window=None, qk_norm=True)


def _uniform(fields: Fields, *, window: int | None, qk_norm: bool = False) -> DecoderConfig:
    fields.refuse("mlp_bias", "attention_output_bias")
    shape = _shape(fields, _rope(fields, fields.part("rope_parameters")), window)
    return DecoderConfig(
        architecture=fields.word("model_type"),
        vocabulary=fields.whole("vocab_size"),
        width=fields.whole("hidden_size"),
        max_context=fields.whole("max_position_embeddings"),
        norm_epsilon=fields.real("rms_norm_eps"),
        shapes=(shape,) * checked_layers(fields.whole("num_hidden_layers")),
        activation=fields.activation("hidden_act", "silu"),
        qk_norm=qk_norm,
    )


def _gemma3(fields: Fields) -> DecoderConfig:
    fields.refuse("attn_logit_softcapping", "final_logit_softcapping", "attention_bias")
    ropes = fields.part("rope_parameters")
    local = Rope(theta=fields.real("rope_local_base_freq", _GEMMA_LOCAL_THETA))
    if ropes.has("sliding_attention"):
        local = _rope(fields, ropes.part("sliding_attention"))
    whole = _rope(fields, ropes.part("full_attention"))
    kinds = {
        "full_attention": _shape(fields, whole, None),
        "sliding_attention": _shape(fields, local, fields.whole("sliding_window")),
    }
    width, scalar = fields.whole("hidden_size"), fields.real("query_pre_attn_scalar")
    if min(width, scalar) <= 0:
        raise fields.wrong("hidden_size or query_pre_attn_scalar", "a positive number")
    return DecoderConfig(
        architecture=fields.word("model_type"),
        vocabulary=fields.whole("vocab_size"),
        width=width,
        max_context=fields.whole("max_position_embeddings"),
        norm_epsilon=fields.real("rms_norm_eps"),
        shapes=tuple(kinds[kind] for kind in _layer_types(fields, set(kinds))),
        activation=fields.activation("hidden_activation", "gelu_pytorch_tanh"),
        embedding_scale=width**0.5,
        query_scale=scalar**-0.5,
        qk_norm=True,
        sandwich_norms=True,
    )


def _layer_types(fields: Fields, known: set[str]) -> list[str]:
    layers = checked_layers(fields.whole("num_hidden_layers"))
    if not fields.has("layer_types"):
        every = max(1, fields.whole("sliding_window_pattern", _GEMMA_PATTERN))
        return [
            "sliding_attention" if (layer + 1) % every else "full_attention"
            for layer in range(layers)
        ]
    kinds = fields.words("layer_types")
    if len(kinds) != layers:
        raise ModelFormatError(
            f"layer_types of config.json has {len(kinds)} names for {layers} layers",
            hint=FETCH_AGAIN,
        )
    if not known.issuperset(kinds):
        raise UnsupportedModel(
            "config.json names a kind of layer that is not built here",
            hint="built: " + ", ".join(sorted(known)),
        )
    return kinds


def _shape(fields: Fields, rope: Rope, window: int | None) -> LayerShape:
    heads = fields.whole("num_attention_heads")
    given = fields.has("head_dim")
    return LayerShape(
        heads=heads,
        kv_heads=fields.whole("num_key_value_heads", heads),
        head_width=(
            fields.whole("head_dim") if given else split_evenly(fields.whole("hidden_size"), heads)
        ),
        ffn_width=fields.whole("intermediate_size"),
        rope=rope,
        window=window,
    )


def _window(fields: Fields) -> int | None:
    return fields.whole("sliding_window") if fields.has("sliding_window") else None


def _rope(fields: Fields, own: Fields) -> Rope:
    """Rotation of one layer kind; newer configurations keep base and scaling together."""
    scaling = fields.part("rope_scaling") if own.empty else own
    theta = scaling.real("rope_theta", fields.real("rope_theta", 10_000.0))
    partial = fields.real("partial_rotary_factor", 1.0)
    if scaling.real("partial_rotary_factor", partial) != 1.0:
        raise UnsupportedModel(
            "heads that rotate in part are not built here", hint="take a model that rotates whole"
        )
    match scaling.word("rope_type", scaling.word("type", "default")):
        case "default":
            return Rope(theta=theta)
        case "linear":
            return Rope(theta=theta, factor=scaling.real("factor"))
        case "llama3":
            return Rope(
                theta=theta,
                factor=scaling.real("factor"),
                low_frequency=scaling.real("low_freq_factor"),
                high_frequency=scaling.real("high_freq_factor"),
                original_context=scaling.whole("original_max_position_embeddings"),
            )
        case other:
            raise UnsupportedModel(
                f"rope scaling {other!r} is not built here", hint="built: default, linear, llama3"
            )


READERS: dict[str, Callable[[Fields], DecoderConfig]] = {
    "gemma3_text": _gemma3,
    "llama": _llama,
    "mistral": _mistral,
    "openelm": read_openelm,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
}
