"""OpenELM (Mehta et al. 2024, arXiv 2404.14619): layers that widen with depth.

Layer i of N has ``qkv_multipliers`` and ``ffn_multipliers`` on the line from the first of two
numbers to the second, rounded to hundredths. The width of its queries is that part of the model's,
to the nearest multiple of one head for each of ``num_gqa_groups``; the width of its feed-forward
that part to the nearest ``ffn_dim_divisor``; neither more than a tenth below what was asked.

The published files carry what comes of it, a number for each layer, beside the two numbers. Both
are read; files in which they contradict each other are refused.
"""

from typing import Final, TypeVar

from inference.architectures.config import DecoderConfig, LayerShape, Rope, checked_layers
from inference.architectures.fields import FETCH_AGAIN, Fields
from lanai.errors import ModelFormatError, UnsupportedModel

__all__ = ["read_openelm"]

_EPSILON: Final = 1e-6  # of every norm; the settings do not say it
N = TypeVar("N", int, float)


def read_openelm(fields: Fields) -> DecoderConfig:
    """Raises ``ModelFormatError``; ``UnsupportedModel`` for what no published member does."""
    if not fields.flag("ffn_with_glu", default=True):
        raise UnsupportedModel(
            "OpenELM without gates is not built here", hint="its eight published models have gates"
        )
    if fields.word("normalization_layer_name", "rms_norm") != "rms_norm":
        raise UnsupportedModel(
            "OpenELM with other norms is not built here", hint="its published models have rms_norm"
        )
    return DecoderConfig(
        architecture=fields.word("model_type"),
        vocabulary=fields.whole("vocab_size"),
        width=fields.whole("model_dim"),
        max_context=fields.whole("max_context_length"),
        norm_epsilon=_EPSILON,
        shapes=_shapes(fields),
        activation=fields.activation("activation_fn_name", "swish"),
        qk_norm=fields.flag("normalize_qk_projections"),
    )


def _shapes(fields: Fields) -> tuple[LayerShape, ...]:
    layers = checked_layers(fields.whole("num_transformer_layers"))
    width, divisor = fields.whole("model_dim"), fields.whole("ffn_dim_divisor", 256)
    if divisor < 1:
        raise fields.wrong("ffn_dim_divisor", "a positive number")
    rope = Rope(theta=fields.real("rope_freq_constant", 10_000.0))
    queries = _query_heads(fields, layers)
    keys = _key_heads(fields, queries)
    multipliers = _for_each_layer(fields, "ffn_multipliers", layers)
    return tuple(
        LayerShape(
            heads=heads,
            kv_heads=kv_heads,
            head_width=fields.whole("head_dim"),
            ffn_width=_divisible(multiplier * width, divisor),
            rope=rope,
        )
        for heads, kv_heads, multiplier in zip(queries, keys, multipliers, strict=True)
    )


def _query_heads(fields: Fields, layers: int) -> list[int]:
    """As listed, as the multipliers give them, or, with both, both alike."""
    listed = fields.wholes("num_query_heads") if fields.has("num_query_heads") else None
    if listed is not None and not fields.has("qkv_multipliers"):
        return _checked(listed, "num_query_heads", layers)
    head, groups = fields.whole("head_dim"), fields.whole("num_gqa_groups", 1)
    if min(head, groups) < 1:
        raise fields.wrong("num_gqa_groups or head_dim", "a positive number")
    width = fields.whole("model_dim")
    scaled = [
        _divisible(multiplier * width, head * groups) // head
        for multiplier in _for_each_layer(fields, "qkv_multipliers", layers)
    ]
    if listed is not None and listed != scaled:
        raise ModelFormatError(
            "num_query_heads of config.json do not follow from its qkv_multipliers and "
            "num_gqa_groups",
            hint=FETCH_AGAIN,
        )
    return scaled


def _key_heads(fields: Fields, queries: list[int]) -> list[int]:
    if fields.has("num_kv_heads"):
        return _checked(fields.wholes("num_kv_heads"), "num_kv_heads", len(queries))
    groups = fields.whole("num_gqa_groups", 1)
    return [heads // max(groups, 1) for heads in queries]


def _for_each_layer(fields: Fields, key: str, layers: int) -> list[float]:
    """A multiplier for each layer, of one number for all, the two ends of a line, or a list."""
    given = fields.reals(key)
    if len(given) == 1:
        given = given * layers
    elif len(given) == 2:
        first, last = given
        given = [round(first + (last - first) * i / max(layers - 1, 1), 2) for i in range(layers)]
    if not all(0 < multiplier < 1 << 16 for multiplier in given):
        raise fields.wrong(key, "made of positive multipliers")
    return _checked(given, key, layers)


def _checked(values: list[N], key: str, layers: int) -> list[N]:
    if len(values) != layers:
        raise ModelFormatError(
            f"{key} of config.json has {len(values)} numbers for {layers} layers", hint=FETCH_AGAIN
        )
    return values


def _divisible(size: float, divisor: int) -> int:
    """Nearest multiple of ``divisor``, never more than a tenth below ``size``."""
    nearest = max(divisor, int(size + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * size else nearest
