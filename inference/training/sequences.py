"""The sequences a source model wrote, made now or kept from before, as one ``.npy`` file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inference.decoder import load_decoder
from inference.text import load_text_model
from inference.training.writing import write_sequences
from lanai.errors import UsageError

__all__ = ["sequences_of"]


def sequences_of(
    source: Path,
    kept: Path | None,
    count: int,
    length: int,
    seed: int,
    *,
    say: Callable[[str], None],
) -> Tensor:
    """int64, (count, length), from ``kept`` where there is such a file, else newly written.

    Raises ``UsageError`` for a file that holds something else.
    """
    text = load_text_model(source)
    if kept is not None and kept.exists():
        return _read(kept, text.vocabulary)
    decoder = load_decoder(source, context_tokens=length, precision="bfloat16")
    ids = write_sequences(
        decoder,
        text,
        count=count,
        length=length,
        seed=seed,
        on_written=lambda done: say(f"{done} of {count} sequences written"),
    )
    if kept is not None:
        with kept.open("wb") as opened:  # by name, numpy would add a suffix
            np.save(opened, ids.numpy().astype(np.int32), allow_pickle=False)
    return ids


def _read(path: Path, vocabulary: int) -> Tensor:
    try:
        ids = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path} is no .npy file of sequences") from error
    sound = ids.dtype == np.int32 and ids.ndim == 2 and ids.size
    if not sound or ids.min() < 0 or ids.max() >= vocabulary:
        raise UsageError(f"{path} holds no sequences of this model's tokens")
    return torch.from_numpy(ids.astype(np.int64))
