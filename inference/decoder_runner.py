"""A loaded model as the scheduler sees it. torch is imported when a request first runs."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inference.runner import Prediction, Slot
from lanai.errors import EngineError

if TYPE_CHECKING:
    from inference.decoder import LanguageModel

__all__ = ["DecoderRunner"]


class DecoderRunner:
    """A ``Runner`` over ``inference.decoder``."""

    def __init__(self, decoder: "LanguageModel") -> None:
        self._decoder = decoder

    def begin(self, prompt: int, answer: int) -> Slot:
        with _torch_errors():
            return DecoderSlot(self._decoder, self._decoder.new_cache(prompt + answer))


class DecoderSlot:
    """A ``Slot`` over the decoder's cache."""

    def __init__(self, decoder: "LanguageModel", cache: Any) -> None:
        self._decoder = decoder
        self._cache = cache

    def forward(self, ids: NDArray[np.int32]) -> Prediction:
        import torch

        with torch.inference_mode(), _torch_errors(), _wide(ids) as tokens:
            out = self._decoder.forward(torch.from_numpy(tokens), self._cache)
            return Prediction(
                logits=out.logits[-1].float().cpu().numpy(), hidden=out.hidden.float().cpu().numpy()
            )

    def wipe(self) -> None:
        self._cache.wipe()


@contextlib.contextmanager
def _wide(ids: NDArray[np.int32]) -> Iterator[NDArray[np.int64]]:
    """A copy that is overwritten after use: numpy keeps small arrays' memory for the next one."""
    tokens = ids.astype(np.int64)
    try:
        yield tokens
    finally:
        tokens.fill(0)


@contextlib.contextmanager
def _torch_errors() -> Iterator[None]:
    """torch says everything with ``RuntimeError``; its text may hold shapes made from content."""
    try:
        yield
    except RuntimeError as error:
        if "alloc" in str(error).lower():
            raise MemoryError from None
        raise EngineError("the model failed") from None
