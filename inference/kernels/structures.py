"""The structures of ``native/interface.h``, for ctypes. Field by field the same."""

import ctypes
from typing import Final

__all__ = [
    "ABI",
    "BAD_ARGUMENT",
    "MOST_ADAPTERS",
    "MOST_PRODUCTS",
    "MOST_THREADS",
    "TABLE_BYTES",
    "AdapterLayer",
    "Adapters",
    "Cache",
    "CacheLayer",
    "Layer",
    "LowRank",
    "Matrix",
    "Plan",
]

ABI: Final = 4
BAD_ARGUMENT: Final = 1  # of enum lanai_error
MOST_ADAPTERS: Final = 2
MOST_PRODUCTS: Final = 3
MOST_THREADS: Final = 256
TABLE_BYTES: Final = 576

_Pointer = ctypes.c_void_p
_Int = ctypes.c_int32


class Matrix(ctypes.Structure):
    """``lanai_matrix``."""

    _fields_ = (
        ("codes", _Pointer),
        ("tables", _Pointer),
        ("scales", _Pointer),
        ("offsets", _Pointer),
        ("row_scale", _Pointer),
        ("rows", _Int),
        ("columns", _Int),
        ("bits", _Int),
        ("reserved", _Int),
    )


class Layer(ctypes.Structure):
    """``lanai_layer``."""

    _fields_ = (
        *((name, Matrix) for name in ("q", "k", "v", "output", "gate", "up", "down")),
        *((name, _Pointer) for name in ("attention_norm", "ffn_norm")),
        *((name, _Pointer) for name in ("attention_post_norm", "ffn_post_norm")),
        *((name, _Pointer) for name in ("q_norm", "k_norm")),
        *((name, _Pointer) for name in ("q_bias", "k_bias", "v_bias", "cosine", "sine")),
        *((name, _Int) for name in ("heads", "kv_heads", "head_width", "ffn_width", "window")),
        ("score_scale", ctypes.c_float),
    )


class Plan(ctypes.Structure):
    """``lanai_plan``."""

    _fields_ = (
        *((name, _Int) for name in ("abi", "isa", "layers", "width", "vocabulary", "group")),
        *((name, _Int) for name in ("max_rows", "activation", "positions", "reserved")),
        ("epsilon", ctypes.c_float),
        ("embedding_scale", ctypes.c_float),
        ("layer", ctypes.POINTER(Layer)),
        ("embedding", Matrix),
        ("head", Matrix),
        ("final_norm", _Pointer),
        ("scratch", _Pointer),
        ("pool", _Pointer),
    )


class LowRank(ctypes.Structure):
    """``lanai_low_rank``."""

    _fields_ = (
        ("a", Matrix),
        ("b", _Pointer),
        ("b_scale", _Pointer),
        ("rank", _Int),
        ("reserved", _Int),
    )


class AdapterLayer(ctypes.Structure):
    """``lanai_adapter_layer``."""

    _fields_ = tuple((name, LowRank) for name in ("q", "k", "v", "output", "gate", "up", "down"))


class Adapters(ctypes.Structure):
    """``lanai_adapters``."""

    _fields_ = (
        ("layers", ctypes.POINTER(AdapterLayer) * MOST_ADAPTERS),
        ("inner", _Pointer),
        ("count", _Int),
        ("stride", _Int),
    )


class CacheLayer(ctypes.Structure):
    """``lanai_cache_layer``."""

    _fields_ = tuple((name, _Pointer) for name in ("keys", "values", "key_scale", "value_scale"))


class Cache(ctypes.Structure):
    """``lanai_cache``."""

    _fields_ = (
        ("capacity", _Int),
        ("length", _Int),
        ("layer", ctypes.POINTER(CacheLayer)),
    )
