"""A loaded model as the scheduler sees it. torch is imported when a request first runs."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inference.runner import Prediction, Slot, step_alone
from lanai.errors import EngineError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from inference.adapters.memory import AdapterMemory
    from inference.decoder import Adapted, Forward, LanguageModel

__all__ = ["DecoderRunner"]


class DecoderRunner:
    """A ``Runner`` over ``inference.decoder``. ``adapters``: those a request may name."""

    def __init__(
        self, decoder: "LanguageModel", adapters: "AdapterMemory[Adapted] | None" = None
    ) -> None:
        self._decoder = decoder
        self._adapters = adapters

    def begin(self, prompt: int, answer: int, adapter: str | None = None) -> Slot:
        with _torch_errors():
            ready = None if adapter is None else self._ready(adapter)
            return DecoderSlot(self._decoder, self._decoder.new_cache(prompt + answer), ready)

    def step(self, slots: Sequence[Slot], ids: NDArray[np.int32]) -> list[Prediction]:
        """See ``Runner.step``. Those of one adapter, or of none, go together."""
        together: dict[int, list[int]] = {}
        for row, slot in enumerate(slots):
            if not isinstance(slot, DecoderSlot):
                raise EngineError("a slot of another runner")
            together.setdefault(id(slot.adapter), []).append(row)
        if len(together) == 1:
            return self._step(slots, ids)
        found: dict[int, Prediction] = {}
        for rows in together.values():
            given = self._step([slots[row] for row in rows], ids[rows])
            found |= zip(rows, given, strict=True)
        return [found[row] for row in range(len(slots))]

    def _step(self, slots: Sequence[Slot], ids: NDArray[np.int32]) -> list[Prediction]:
        if len(slots) == 1:  # the shapes of the unbatched pass, to the last bit
            return step_alone(slots, ids)
        own = [slot for slot in slots if isinstance(slot, DecoderSlot)]
        with _computing(ids) as tokens:
            caches = [slot.cache for slot in own]
            found = self._decoder.step(tokens, caches, adapter=own[0].adapter)
            return [_prediction(out) for out in found]

    def _ready(self, adapter: str) -> "Adapted":
        if self._adapters is None:
            raise UsageError("this engine has no adapters", hint="leave `adapter` unset")
        return self._adapters.get(adapter)


class DecoderSlot:
    """A ``Slot`` over the decoder's cache."""

    def __init__(
        self, decoder: "LanguageModel", cache: Any, adapter: "Adapted | None" = None
    ) -> None:
        self._decoder = decoder
        self.cache = cache
        self.adapter = adapter

    def forward(self, ids: NDArray[np.int32]) -> Prediction:
        with _computing(ids) as tokens:
            return _prediction(self._decoder.forward(tokens, self.cache, adapter=self.adapter))

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
