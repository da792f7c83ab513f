"""Adapters of random numbers, for a base of any shape."""

from collections.abc import Collection
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from inference.adapters import (
    PARTS,
    Adapter,
    AdapterManifest,
    Base,
    LowRank,
    matrix_shapes,
    write_adapter,
)
from inference.architectures.config import DecoderConfig

__all__ = ["random_adapter", "write_random_adapter"]


def random_adapter(
    config: DecoderConfig,
    *,
    rank: int = 4,
    alpha: float | None = None,
    parts: Collection[str] = PARTS,
    strength: float = 1.0,
    seed: int = 0,
    name: str = "random",
) -> Adapter:
    """A change about ``strength`` times as large as matrices of ``1 / sqrt(columns)``."""
    random = np.random.default_rng(seed)
    alpha = float(rank) if alpha is None else alpha

    def drawn(rows: int, columns: int, size: float) -> NDArray[np.float32]:
        return (random.standard_normal((rows, columns)) * size).astype(np.float32)

    matrices = {}
    for matrix, (rows, columns) in matrix_shapes(config).items():
        if matrix.rpartition(".")[2] in parts:
            matrices[matrix] = LowRank(
                a=drawn(rank, columns, columns**-0.5),
                b=drawn(rows, rank, strength * rank**-0.5 * rank / alpha),
            )
    return Adapter(name=name, rank=rank, alpha=alpha, matrices=matrices)


def write_random_adapter(
    folder: Path,
    config: DecoderConfig,
    *,
    base: Base | None = None,
    bits: Literal[16, 8] = 16,
    chat_template: str | None = None,
    stop: tuple[str, ...] | None = None,
    kind: Literal["task", "recovery"] = "task",
    **drawn: int | float | Collection[str],
) -> Adapter:
    """Write ``folder``; the adapter it holds before rounding."""
    adapter = random_adapter(config, name=folder.name, **drawn)  # type: ignore[arg-type]
    manifest = AdapterManifest(
        name=folder.name,
        base=base or Base(name="any", architecture=config.architecture),
        kind=kind,
        chat_template=chat_template,
        stop=stop,
        license="Apache-2.0",
    )
    write_adapter(folder, adapter, manifest, bits)
    return adapter
