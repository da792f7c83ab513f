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

        with torch.inference_mode(), _torch_errors():
            out = self._decoder.forward(torch.from_numpy(ids.astype(np.int64)), self._cache)
            return Prediction(
                logits=out.logits[-1].float().cpu().numpy(), hidden=out.hidden.float().cpu().numpy()
            )

    def wipe(self) -> None:
        self._cache.wipe()


@contextlib.contextmanager
def _torch_errors() -> Iterator[None]:
    """torch says everything with ``RuntimeError``; its text may hold shapes made from content."""
    try:
        yield
    except RuntimeError as error:
        if "alloc" in str(error).lower():
            raise MemoryError from None
        raise EngineError("the model failed") from None
