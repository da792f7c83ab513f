"""``config.json`` of each family. Keys are those of the models' own configurations."""

from collections.abc import Callable, Mapping
from typing import Any

from inference.architectures.config import DecoderConfig, LayerShape, Rope, checked_layers
from lanai.errors import UnsupportedModel

__all__ = ["READERS"]

Config = Mapping[str, Any]
_ACTIVATIONS = {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu_tanh"}


def _llama(config: Config) -> DecoderConfig:
    return _uniform(config, window=None)


def _mistral(config: Config) -> DecoderConfig:
    return _uniform(config, window=config.get("sliding_window"))


def _qwen2(config: Config) -> DecoderConfig:
    _refuse(config, "use_sliding_window")
    return _uniform(config, window=None)


def _qwen3(config: Config) -> DecoderConfig:
    _refuse(config, "use_sliding_window")
    return _uniform(config, window=None, qk_norm=True)


def _uniform(config: Config, *, window: int | None, qk_norm: bool = False) -> DecoderConfig:
    _refuse(config, "mlp_bias", "attention_output_bias")
    shape = _shape(config, _rope(config, config.get("rope_parameters")), window)
    return DecoderConfig(
        architecture=config["model_type"],
        vocabulary=config["vocab_size"],
        width=config["hidden_size"],
        max_context=config["max_position_embeddings"],
        norm_epsilon=config["rms_norm_eps"],
        shapes=(shape,) * checked_layers(config["num_hidden_layers"]),
        activation=_activation(config.get("hidden_act", "silu")),
        qk_norm=qk_norm,
    )


def _gemma3(config: Config) -> DecoderConfig:
    _refuse(config, "attn_logit_softcapping", "final_logit_softcapping", "attention_bias")
    ropes = config.get("rope_parameters") or {}
    theta = config.get("rope_local_base_freq", 10_000.0)
    local = ropes.get("sliding_attention")
    kinds = {
        "full_attention": _shape(config, _rope(config, ropes.get("full_attention")), None),
        "sliding_attention": _shape(
            config,
            _rope(config, local) if local else Rope(theta=theta),
            config["sliding_window"],
        ),
    }
    return DecoderConfig(
        architecture=config["model_type"],
        vocabulary=config["vocab_size"],
        width=config["hidden_size"],
        max_context=config["max_position_embeddings"],
        norm_epsilon=config["rms_norm_eps"],
        shapes=tuple(kinds[kind] for kind in _layer_types(config)),
        activation=_activation(config.get("hidden_activation", "gelu_pytorch_tanh")),
        embedding_scale=config["hidden_size"] ** 0.5,
        query_scale=config["query_pre_attn_scalar"] ** -0.5,
        qk_norm=True,
        sandwich_norms=True,
    )


def _layer_types(config: Config) -> list[str]:
    if kinds := config.get("layer_types"):
        return list(kinds)
    every = config.get("sliding_window_pattern", 6)
    return [
        "sliding_attention" if (layer + 1) % every else "full_attention"
        for layer in range(checked_layers(config["num_hidden_layers"]))
    ]


def _openelm(config: Config) -> DecoderConfig:
    """Layer-wise scaling: heads and feed-forward width grow with depth (Mehta et al. 2024)."""
    if not config.get("ffn_with_glu", True) or config["normalization_layer_name"] != "rms_norm":
        raise UnsupportedModel(
            "OpenELM without a gated feed-forward or RMS norms is not built here"
        )
    rope = Rope(theta=float(config.get("rope_freq_constant", 10_000)))
    sizes = zip(
        config["num_query_heads"], config["num_kv_heads"], config["ffn_multipliers"], strict=True
    )
    return DecoderConfig(
        architecture=config["model_type"],
        vocabulary=config["vocab_size"],
        width=config["model_dim"],
        max_context=config["max_context_length"],
        norm_epsilon=1e-6,
        shapes=tuple(
            LayerShape(
                heads=heads,
                kv_heads=kv_heads,
                head_width=config["head_dim"],
                ffn_width=_divisible(multiplier * config["model_dim"], config["ffn_dim_divisor"]),
                rope=rope,
            )
            for heads, kv_heads, multiplier in sizes
        ),
        activation=_activation(config.get("activation_fn_name", "swish")),
        qk_norm=bool(config["normalize_qk_projections"]),
    )


def _divisible(size: float, divisor: int) -> int:
    """Nearest multiple of ``divisor``, never more than a tenth below ``size``."""
    nearest = max(divisor, int(size + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * size else nearest


def _shape(config: Config, rope: Rope, window: int | None) -> LayerShape:
    heads = config["num_attention_heads"]
    return LayerShape(
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_width=config.get("head_dim") or config["hidden_size"] // heads,
        ffn_width=config["intermediate_size"],
        rope=rope,
        window=window,
    )


def _rope(config: Config, parameters: Config | None) -> Rope:
    """Rotation of one layer kind; newer configurations keep base and scaling together."""
    scaling = dict(parameters or config.get("rope_scaling") or {})
    theta = float(scaling.get("rope_theta") or config.get("rope_theta") or 10_000.0)
    if float(scaling.get("partial_rotary_factor", 1.0)) != 1.0:
        raise UnsupportedModel("heads that rotate in part are not built here")
    match scaling.get("rope_type", scaling.get("type", "default")):
        case "default":
            return Rope(theta=theta)
        case "linear":
            return Rope(theta=theta, factor=float(scaling["factor"]))
        case "llama3":
            return Rope(
                theta=theta,
                factor=float(scaling["factor"]),
                low_frequency=float(scaling["low_freq_factor"]),
                high_frequency=float(scaling["high_freq_factor"]),
                original_context=int(scaling["original_max_position_embeddings"]),
            )
        case other:
            raise UnsupportedModel(f"rope scaling {other!r} is not built here")


def _activation(name: str) -> Any:
    if name not in _ACTIVATIONS:
        raise UnsupportedModel(f"activation {name!r} is not built here")
    return _ACTIVATIONS[name]


def _refuse(config: Config, *settings: str) -> None:
    for name in settings:
        if config.get(name):
            raise UnsupportedModel(f"models with {name} are not built here")


READERS: dict[str, Callable[[Config], DecoderConfig]] = {
    "gemma3_text": _gemma3,
    "llama": _llama,
    "mistral": _mistral,
    "openelm": _openelm,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
}
