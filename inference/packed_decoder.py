"""A packed model run by the compiled kernels: the whole forward pass is one call.

Of several tokens of one sequence, or of one token of each of several, weights are read once for all
of them. A token's numbers depend on its own sequence only: not on how many others go with it, nor
on what those hold, to the last bit.

Keys and values are kept in 8 bits with a scale for each head of each token. The same seam as
``inference.decoder.Decoder``: token ids in, logits out.
"""

import ctypes
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from inference.adapters import Adapter
from inference.architectures import DecoderConfig
from inference.cache import require_room
from inference.decoder import Forward, Ids, Rows
from inference.formats.packed import PackedFile
from inference.kernels import structures
from inference.kernels.adapter_plan import AdapterPlan, Lifting
from inference.kernels.binding import Kernels, aligned
from inference.kernels.plan import PlanBuilder, runs_compiled
from inference.refusals import no_ids, no_such_cache, no_token
from lanai.errors import EngineError, LanaiError, UsageError

__all__ = ["PackedCache", "PackedDecoder", "runs_compiled"]

POSITIONS: Final = 16  # of a tile of keys


class PackedCache:
    """Room for ``capacity`` tokens; ``repr`` shows sizes only. Wiped as soon as a request ends."""

    def __init__(
        self, config: DecoderConfig, capacity: int, wipe_scratch: Callable[[], None]
    ) -> None:
        """``wipe_scratch`` overwrites what the decoder holds of the last step."""
        self.capacity = capacity
        self.length = 0
        self._wipe_scratch = wipe_scratch
        room = -(-capacity // POSITIONS) * POSITIONS
        self.rows = [
            aligned(shape.kv_heads * room * (2 * shape.head_width + 8)) for shape in config.shapes
        ]
        layers = (structures.CacheLayer * config.layers)()
        for layer, rows, shape in zip(layers, self.rows, config.shapes, strict=True):
            values = shape.kv_heads * room * shape.head_width
            layer.keys = rows.ctypes.data
            layer.values = rows.ctypes.data + values
            layer.key_scale = rows.ctypes.data + 2 * values
            layer.value_scale = rows.ctypes.data + 2 * values + 4 * shape.kv_heads * room
        self._layers = layers
        self.structure = structures.Cache(capacity=room, length=0, layer=layers)

    def __repr__(self) -> str:
        return f"<packed cache: {self.length} of {self.capacity} tokens>"

    def reserve(self, count: int) -> None:
        """Raises ``ContextOverflow`` when ``count`` more tokens do not fit."""
        require_room(self.length + count, self.capacity)

    def take_back(self, count: int) -> None:
        """Forget the last ``count`` tokens. What is behind ``length`` weighs nothing."""
        self.length -= count

    def wipe(self) -> None:
        """Overwrite every row, and what the last step left in the decoder's scratch memory."""
        for rows in self.rows:
            rows.fill(0)
        self._wipe_scratch()
        self.length = 0


class PackedDecoder:
    """A loaded model. Not for several threads at once; caches keep sequences apart."""

    def __init__(
        self, file: PackedFile, kernels: Kernels, *, context_tokens: int, threads: int
    ) -> None:
        self.config = file.config
        self.context_tokens = context_tokens
        self.device = torch.device("cpu")
        self.dtype = torch.float32
        self._kernels = kernels
        self._pool = kernels.pool(threads)
        self._builder = PlanBuilder(file, kernels, positions=context_tokens)
        self._plan = self._builder.plan
        self._plan.pool = self._pool.handle
        room = -(-context_tokens // POSITIONS) * POSITIONS
        size = kernels.code.lanai_scratch_bytes(self._plan, room, self._pool.threads)
        self.scratch = aligned(size)
        self._plan.scratch = self.scratch.ctypes.data
        self._always: tuple[AdapterPlan, ...] = ()
        self.lifting = Lifting(self._plan.max_rows)

    def __repr__(self) -> str:
        return f"<packed decoder: {self.config.architecture}, {self._kernels.isa}>"

    @property
    def isa(self) -> str:
        return self._kernels.isa

    def new_cache(self, tokens: int) -> PackedCache:
        """An empty cache with room for ``tokens``; ``UsageError`` beyond the loaded context."""
        if not 0 < tokens <= self.context_tokens:
            raise no_such_cache(tokens, self.context_tokens)
        return PackedCache(self.config, tokens, self._wipe)

    def adapted(self, adapter: Adapter) -> AdapterPlan:
        """See ``LanguageModel.adapted``."""
        return AdapterPlan(adapter, layers=self.config.layers, group=self._plan.group)

    def keep_on(self, adapter: Adapter) -> None:
        """See ``LanguageModel.keep_on``."""
        self._always = (self.adapted(adapter),)

    def forward(
        self,
        ids: Tensor,
        cache: PackedCache,
        *,
        all_logits: bool = False,
        adapter: AdapterPlan | None = None,
    ) -> Forward:
        """See ``Decoder.forward``: the same arguments, results and errors."""
        logits, hidden = self._run(ids.numpy(), cache, all_logits=all_logits, adapter=adapter)
        return Forward(logits=torch.from_numpy(logits), hidden=torch.from_numpy(hidden))

    def predict(
        self, ids: Ids, cache: PackedCache, *, adapter: AdapterPlan | None = None
    ) -> tuple[Rows, Rows]:
        """See ``LanguageModel.predict``."""
        return self._run(ids, cache, all_logits=False, adapter=adapter)

    def predict_each(self, ids: Ids, cache: PackedCache) -> Rows:
        """See ``LanguageModel.predict_each``."""
        return self._run(ids, cache, all_logits=True, adapter=None)[0]

    def _run(
        self, ids: Ids, cache: PackedCache, *, all_logits: bool, adapter: AdapterPlan | None
    ) -> tuple[Rows, Rows]:
        """Logits (1 or n, vocabulary) and hidden (width,), without torch.

        A pass reads so much that the code of whatever runs between two is gone from the
        processor's caches; as a few calls of torch it took a tenth of a token's time.
        """
        ids = _checked(ids)
        count = len(ids)
        cache.reserve(count)
        rows, vocabulary = count if all_logits else 1, self.config.vocabulary
        out = np.empty(rows * vocabulary + self.config.width, np.float32)
        address = out.ctypes.data
        cache.structure.length = cache.length
        failed: int = self._kernels.code.lanai_forward(
            self._plan,
            self._adapters(adapter),
            cache.structure,
            ids.ctypes.data,
            count,
            all_logits,
            address,
            address + 4 * rows * vocabulary,
        )
        if failed:
            raise self._refused(failed)
        cache.length += count
        return out[: rows * vocabulary].reshape(rows, vocabulary), out[rows * vocabulary :]

    def forward_each(self, ids: Tensor, cache: PackedCache) -> Tensor:
        """See ``LanguageModel.forward_each``."""
        return self.forward(ids, cache, all_logits=True).logits

    def step(
        self, ids: Tensor, caches: Sequence[PackedCache], *, adapter: AdapterPlan | None = None
    ) -> list[Forward]:
        """See ``Decoder.step``. Each row is ``forward`` of it alone, to the last bit."""
        found = self.predict_step(ids.numpy(), caches, adapter=adapter)
        return [
            Forward(logits=torch.from_numpy(logits), hidden=torch.from_numpy(hidden))
            for logits, hidden in found
        ]

    def predict_step(
        self, ids: Ids, caches: Sequence[PackedCache], *, adapter: AdapterPlan | None = None
    ) -> list[tuple[Rows, Rows]]:
        """See ``LanguageModel.predict_step``. Each row is ``predict`` of it, to the last bit."""
        ids = _checked(ids)
        count, vocabulary, width = len(ids), self.config.vocabulary, self.config.width
        if len(caches) != count or len({id(cache) for cache in caches}) != count:
            raise UsageError(
                "each token of a step has a cache of its own", hint="new_cache for each"
            )
        for cache in caches:
            cache.reserve(1)
            cache.structure.length = cache.length
        logits = np.empty((count, vocabulary), np.float32)
        hidden = np.empty((count, width), np.float32)
        structure = ctypes.POINTER(structures.Cache)
        failed: int = self._kernels.code.lanai_step(
            self._plan,
            self._adapters(adapter),
            (structure * count)(*(structure(cache.structure) for cache in caches)),
            ids.ctypes.data,
            count,
            logits.ctypes.data,
            hidden.ctypes.data,
        )
        if failed:
            raise self._refused(failed)
        for cache in caches:
            cache.length += 1
        return [(logits[row : row + 1], hidden[row]) for row in range(count)]

    def _adapters(self, adapter: AdapterPlan | None) -> structures.Adapters | None:
        return self.lifting.argument(self._always if adapter is None else (*self._always, adapter))

    def _refused(self, code: int) -> LanaiError:
        """The kernels look at every id anyway; nothing else of a step can be wrong here."""
        if code == structures.BAD_ARGUMENT:
            return no_token(self.config.vocabulary)
        return EngineError("the kernels refused a step", hint="start the engine again")

    def _wipe(self) -> None:
        """Overwrite what the last step left."""
        self.scratch.fill(0)
        self.lifting.wipe()


def _checked(ids: Ids) -> Ids:
    if ids.ndim != 1 or ids.dtype != np.int64 or not ids.size:
        raise no_ids()
    return np.ascontiguousarray(ids)
