"""A loaded model as the scheduler sees it. torch is imported when a request first runs."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inference.runner import Prediction, Slot, step_alone
from inference.same_rows import MOST_ROWS, rows_alike
from lanai.errors import EngineError, UsageError

if TYPE_CHECKING:
    from inference.adapters.memory import AdapterMemory
    from inference.decoder import Adapted, LanguageModel

__all__ = ["DecoderRunner"]


class DecoderRunner:
    """A ``Runner`` over ``inference.decoder``. ``adapters``: those a request may name."""

    def __init__(
        self, decoder: "LanguageModel", adapters: "AdapterMemory[Adapted] | None" = None
    ) -> None:
        self._decoder = decoder
        self._adapters = adapters
        self._rows: int | None = None

    def begin(self, prompt: int, answer: int, adapter: str | None = None) -> Slot:
        with _torch_errors():
            ready = None if adapter is None else self._ready(adapter)
            cache = self._decoder.new_cache(prompt + answer)
            return DecoderSlot(self._decoder, cache, ready, most_rows=self._most_rows)

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
            found = self._decoder.predict_step(tokens, caches, adapter=own[0].adapter)
        return [Prediction(logits=logits[-1], hidden=hidden) for logits, hidden in found]

    def _most_rows(self) -> int:
        """Tried once, when first asked for."""
        if self._rows is None:
            with _torch_errors():
                self._rows = MOST_ROWS if rows_alike(self._decoder) else 1
        return self._rows

    def _ready(self, adapter: str) -> "Adapted":
        if self._adapters is None:
            raise UsageError("this engine has no adapters", hint="leave `adapter` unset")
        return self._adapters.get(adapter)


class DecoderSlot:
    """A ``RewindingSlot`` over the decoder's cache. Not exact with an adapter of its own."""

    def __init__(
        self,
        decoder: "LanguageModel",
        cache: Any,
        adapter: "Adapted | None" = None,
        *,
        most_rows: Callable[[], int] = lambda: 1,
    ) -> None:
        self._decoder = decoder
        self._most_rows = most_rows
        self.cache = cache
        self.adapter = adapter

    def forward(self, ids: NDArray[np.int32]) -> Prediction:
        with _computing(ids) as tokens:
            logits, hidden = self._decoder.predict(tokens, self.cache, adapter=self.adapter)
        return Prediction(logits=logits[-1], hidden=hidden)

    @property
    def most_rows(self) -> int:
        return 1 if self.adapter is not None else self._most_rows()

    def forward_each(self, ids: NDArray[np.int32]) -> list[Prediction]:
        with _computing(ids) as tokens:
            logits = self._decoder.predict_each(tokens, self.cache)
        return [Prediction(logits=row, hidden=np.zeros(0, np.float32)) for row in logits]

    def take_back(self, count: int) -> None:
        self.cache.take_back(count)

    def wipe(self) -> None:
        self.cache.wipe()


@contextlib.contextmanager
def _computing(ids: NDArray[np.int32]) -> Iterator[NDArray[np.int64]]:
    """A copy that is overwritten after use: numpy keeps small arrays' memory for the next one."""
    tokens = ids.astype(np.int64)
    try:
        with _torch_errors():
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
