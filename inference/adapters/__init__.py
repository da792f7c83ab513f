"""Low-rank adapters (Hu et al. 2021): reading, checking, writing and keeping them. No torch.

Trusts nothing in an adapter's folder: sizes, types, shapes and every number are checked before
anything runs with it. Refuses pickles.
"""

from inference.adapters.adapter import MAX_RANK, PARTS, Adapter, LowRank, matrix_shapes
from inference.adapters.base import BaseModel, base_model_at
from inference.adapters.manifest import AdapterManifest, Base
from inference.adapters.names import check_name
from inference.adapters.reading import read_adapter
from inference.adapters.writing import write_adapter

__all__ = [
    "MAX_RANK",
    "PARTS",
    "Adapter",
    "AdapterManifest",
    "Base",
    "BaseModel",
    "LowRank",
    "base_model_at",
    "check_name",
    "matrix_shapes",
    "read_adapter",
    "write_adapter",
]
