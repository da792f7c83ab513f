"""A loaded model as the scheduler sees it. torch is imported when a request first runs."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inference.runner import Prediction, Slot, step_alone
from lanai.errors import EngineError

if TYPE_CHECKING:
    from torch import Tensor

    from inference.decoder import Forward, LanguageModel

__all__ = ["DecoderRunner"]


class DecoderRunner:
    """A ``Runner`` over ``inference.decoder``."""

    def __init__(self, decoder: "LanguageModel") -> None:
        self._decoder = decoder

    def begin(self, prompt: int, answer: int) -> Slot:
        with _torch_errors():
            return DecoderSlot(self._decoder, self._decoder.new_cache(prompt + answer))

    def step(self, slots: Sequence[Slot], ids: NDArray[np.int32]) -> list[Prediction]:
        """See ``Runner.step``."""
        caches = [slot.cache for slot in slots if isinstance(slot, DecoderSlot)]
        if len(caches) != len(slots):
            raise EngineError("a slot of another runner")
        if len(slots) == 1:  # the shapes of the unbatched pass, to the last bit
            return step_alone(slots, ids)
        with _computing(ids) as tokens:
            return [_prediction(out) for out in self._decoder.step(tokens, caches)]


class DecoderSlot:
    """A ``Slot`` over the decoder's cache."""

    def __init__(self, decoder: "LanguageModel", cache: Any) -> None:
        self._decoder = decoder
        self.cache = cache

    def forward(self, ids: NDArray[np.int32]) -> Prediction:
        with _computing(ids) as tokens:
            return _prediction(self._decoder.forward(tokens, self.cache))

    def wipe(self) -> None:
        self.cache.wipe()


def _prediction(out: "Forward") -> Prediction:
    return Prediction(
        logits=out.logits[-1].float().cpu().numpy(), hidden=out.hidden.float().cpu().numpy()
    )


@contextlib.contextmanager
def _computing(ids: NDArray[np.int32]) -> Iterator["Tensor"]:
    """A copy that is overwritten after use: numpy keeps small arrays' memory for the next one."""
    import torch

    tokens = ids.astype(np.int64)
    try:
        with torch.inference_mode(), _torch_errors():
            yield torch.from_numpy(tokens)
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
