"""The sequences a source model wrote, made now or kept from before, as one ``.npy`` file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inference.decoder import LanguageModel, load_decoder
from inference.text import TextModel, load_text_model
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
    writer: Path | None = None,
    say: Callable[[str], None],
) -> Tensor:
    """int64, (count, length), from ``kept`` where there is such a file, else newly written.

    ``writer``: a model of the same tokens that writes in the place of ``source``, as the source
    packed with its own codes does several times as fast. Raises ``UsageError`` for one of other
    tokens, and for a file that holds something else.
    """
    text = load_text_model(source)
    if kept is not None and kept.exists():
        return _read(kept, text.vocabulary)
    if writer is None:
        decoder = load_decoder(source, context_tokens=length, precision="bfloat16")
    else:
        decoder = _writer(writer, text, length)
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


def _writer(path: Path, text: TextModel, length: int) -> LanguageModel:
    if not load_text_model(path).tokens.same_tokens(text.tokens):
        raise UsageError("the writer has other tokens", hint="name a model of the same tokenizer")
    return load_decoder(path, context_tokens=length)


def _read(path: Path, vocabulary: int) -> Tensor:
    try:
        ids = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path} is no .npy file of sequences") from error
    sound = ids.dtype == np.int32 and ids.ndim == 2 and ids.size
    if not sound or ids.min() < 0 or ids.max() >= vocabulary:
        raise UsageError(f"{path} holds no sequences of this model's tokens")
    return torch.from_numpy(ids.astype(np.int64))
