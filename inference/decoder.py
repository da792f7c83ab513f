"""One forward pass of a decoder-only language model in plain torch.

``forward`` runs any number of tokens of one sequence, ``step`` one token of each of several: its
matrix products take all rows at once, attention keeps to each row's own cache, and no row's number
depends on what another row holds.

Reads as the papers do: embed, then for each layer attention and gated feed-forward around a
residual stream, then the vocabulary. A ``DecoderConfig`` says which family's variations apply.

Token ids are user content: nothing here logs or raises them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from inference.adapters import Adapter
from inference.architectures import DecoderConfig
from inference.attention import Attention, Norm
from inference.cache import Cache
from inference.embedding import Embedding
from inference.lifting import UNCHANGED, LayerLift, Lifts, lifted, lifts_of
from inference.linear import Linear
from inference.refusals import no_ids, no_such_cache, no_token

__all__ = [
    "Adapted",
    "Decoder",
    "Forward",
    "LanguageModel",
    "Layer",
    "Precision",
    "check_ids",
    "load_decoder",
]

Precision = Literal["auto", "bfloat16", "float32"]
Ids = NDArray[np.int64]
Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """What a forward pass gives. ``repr`` shows shapes only: the numbers are made from content."""

    logits: Tensor = field(repr=False)
    """float32, shape (1, vocabulary) for the last token, or (n, vocabulary) for all."""
    hidden: Tensor = field(repr=False)
    """The last token's state after the final norm, float32, shape (width,)."""


class Adapted(Protocol):
    """An adapter in the form a model runs it."""

    @property
    def bytes(self) -> int: ...


class LanguageModel(Protocol):
    """A loaded model, however it computes. Its caches are its own: give back what it gave."""

    @property
    def config(self) -> DecoderConfig: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def context_tokens(self) -> int: ...

    def new_cache(self, tokens: int) -> Any: ...

    def adapted(self, adapter: Adapter) -> Adapted:
        """``adapter``, read for this model, ready for ``forward`` and ``step``."""
        ...

    def keep_on(self, adapter: Adapter) -> None:
        """From now on ``adapter`` is in every pass, beside a request's own. Once, before any."""
        ...

    def forward(
        self, ids: Tensor, cache: Any, *, all_logits: bool = False, adapter: Any = None
    ) -> Forward: ...

    def forward_each(self, ids: Tensor, cache: Any) -> Tensor:
        """As ``forward`` of a few ids one after the other, in one pass; logits (n, vocabulary)."""
        ...

    def predict(self, ids: Ids, cache: Any, *, adapter: Any = None) -> tuple[Rows, Rows]:
        """As ``forward``, in numpy: logits (1, vocabulary), hidden (width,)."""
        ...

    def predict_each(self, ids: Ids, cache: Any) -> Rows:
        """As ``forward_each``, in numpy."""
        ...

    def step(self, ids: Tensor, caches: Sequence[Any], *, adapter: Any = None) -> list[Forward]: ...

    def predict_step(
        self, ids: Ids, caches: Sequence[Any], *, adapter: Any = None
    ) -> list[tuple[Rows, Rows]]:
        """As ``step``, in numpy: of each row logits (1, vocabulary) and hidden (width,)."""
        ...


@dataclass(slots=True, kw_only=True)
class Layer:
    """Attention and gated feed-forward, each added to the residual stream."""

    attention_norm: Norm
    attention: Attention
    ffn_norm: Norm
    gate_up: Linear
    down: Linear
    activation: Callable[[Tensor], Tensor]
    attention_post_norm: Norm | None = None
    ffn_post_norm: Norm | None = None

    def __call__(self, x: Tensor, cache: Cache, lift: LayerLift = UNCHANGED) -> Tensor:
        """``x``: residual stream, shape (n, width)."""
        return self._fed(x, self.attention(self.attention_norm(x), cache, lift), lift)

    def rows(
        self,
        x: Tensor,
        caches: Sequence[Cache],
        positions: Tensor,
        lift: LayerLift = UNCHANGED,
    ) -> Tensor:
        """``x``: one token of each sequence, shape (n, width)."""
        change = self.attention.rows(self.attention_norm(x), caches, positions, lift)
        return self._fed(x, change, lift)

    def _fed(self, x: Tensor, change: Tensor, lift: LayerLift) -> Tensor:
        x = self.attended(x, change)
        normed = self.ffn_norm(x)
        gate, up = lifted(normed, self.gate_up(normed), lift.gate_up).chunk(2, -1)
        inner = self.activation(gate).mul_(up)
        return self.fed(x, lifted(inner, self.down(inner), lift.down))

    def attended(self, x: Tensor, change: Tensor) -> Tensor:
        """The residual stream after attention; ``change``: what came of the output matrix."""
        return x + (self.attention_post_norm(change) if self.attention_post_norm else change)

    def fed(self, x: Tensor, change: Tensor) -> Tensor:
        """The residual stream after the feed-forward; ``change``: what came of the down matrix."""
        return x + (self.ffn_post_norm(change) if self.ffn_post_norm else change)


@dataclass(slots=True, kw_only=True)
class Decoder:
    """A loaded model. Not for several threads at once; caches keep sequences apart."""

    config: DecoderConfig
    embedding: Embedding
    layers: list[Layer]
    final_norm: Norm
    head: Linear
    dtype: torch.dtype
    device: torch.device
    context_tokens: int
    _always: tuple[Adapter, ...] = field(default=(), init=False)
    _unasked: Lifts = field(default=Lifts(layers=()), init=False)
    """Of a request that names no adapter."""

    def adapted(self, adapter: Adapter) -> Lifts:
        """See ``LanguageModel.adapted``."""
        return lifts_of((*self._always, adapter), self.config, self.dtype, self.device)

    def keep_on(self, adapter: Adapter) -> None:
        """See ``LanguageModel.keep_on``."""
        self._unasked = self.adapted(adapter)
        self._always = (*self._always, adapter)

    def new_cache(self, tokens: int) -> Cache:
        """An empty cache with room for ``tokens``; ``UsageError`` beyond the loaded context."""
        if not 0 < tokens <= self.context_tokens:
            raise no_such_cache(tokens, self.context_tokens)
        shapes = [(shape.kv_heads, shape.head_width) for shape in self.config.shapes]
        return Cache(shapes, tokens, self.dtype, self.device)

    @torch.inference_mode()
    def forward(
        self,
        ids: Tensor,
        cache: Cache,
        *,
        all_logits: bool = False,
        adapter: Lifts | None = None,
    ) -> Forward:
        """Run the tokens after those in ``cache`` and keep their keys and values there.

        ``ids``: int64, shape (n,), n ≥ 1. ``adapter``: of ``adapted``. Raises
        ``ContextOverflow`` when the cache is full and ``UsageError`` for ids that are no tokens of
        this model.
        """
        check_ids(ids, self.config.vocabulary)
        cache.reserve(ids.shape[0])
        lifts = adapter or self._unasked
        x = self.embedding(ids)
        for at, layer in enumerate(self.layers):
            x = layer(x, cache, lifts.of(at))
        cache.advance(ids.shape[0])
        states = self.final_norm(x if all_logits else x[-1:])
        return Forward(logits=self.head(states).float(), hidden=states[-1].float())

    def forward_each(self, ids: Tensor, cache: Cache) -> Tensor:
        """See ``LanguageModel.forward_each``. As rows of a step: each attends as if it were alone,
        because torch's attention of several rounds otherwise."""
        count = ids.shape[0]
        found = self.step(ids, [cache.after(row) for row in range(count)])
        cache.advance(count)
        return torch.cat([each.logits for each in found])

    def predict(self, ids: Ids, cache: Cache, *, adapter: Lifts | None = None) -> tuple[Rows, Rows]:
        """See ``LanguageModel.predict``."""
        out = self.forward(torch.from_numpy(ids), cache, adapter=adapter)
        return out.logits.cpu().numpy(), out.hidden.cpu().numpy()

    def predict_each(self, ids: Ids, cache: Cache) -> Rows:
        """See ``LanguageModel.predict_each``."""
        found: Rows = self.forward_each(torch.from_numpy(ids), cache).cpu().numpy()
        return found

    @torch.inference_mode()
    def step(
        self, ids: Tensor, caches: Sequence[Cache], *, adapter: Lifts | None = None
    ) -> list[Forward]:
        """Run one token of each sequence, ``ids[i]`` after those in ``caches[i]``, all at once.

        ``ids``: int64, shape (n,), n ≥ 1. Raises as ``forward`` does, before anything is stored.
        """
        check_ids(ids, self.config.vocabulary)
        for cache in caches:
            cache.reserve(1)
        positions = torch.tensor([cache.length for cache in caches], device=self.device)
        lifts = adapter or self._unasked
        x = self.embedding(ids)
        for at, layer in enumerate(self.layers):
            x = layer.rows(x, caches, positions, lifts.of(at))
        for cache in caches:
            cache.advance(1)
        states = self.final_norm(x)
        logits, hidden = self.head(states).float(), states.float()
        return [
            Forward(logits=logits[row : row + 1], hidden=hidden[row]) for row in range(len(caches))
        ]

    def predict_step(
        self, ids: Ids, caches: Sequence[Cache], *, adapter: Lifts | None = None
    ) -> list[tuple[Rows, Rows]]:
        """See ``LanguageModel.predict_step``."""
        found = self.step(torch.from_numpy(ids), caches, adapter=adapter)
        return [(out.logits.cpu().numpy(), out.hidden.cpu().numpy()) for out in found]


def check_ids(ids: Tensor, vocabulary: int) -> None:
    """Raises ``UsageError`` for anything but ids of tokens, int64, shape (n,), n ≥ 1."""
    if ids.dim() != 1 or ids.dtype != torch.int64 or not ids.numel():
        raise no_ids()
    if int(ids.min()) < 0 or int(ids.max()) >= vocabulary:
        raise no_token(vocabulary)


def silu(x: Tensor) -> Tensor:
    return functional.silu(x)


def gelu_tanh(x: Tensor) -> Tensor:
    return functional.gelu(x, approximate="tanh")


def load_decoder(
    path: Path,
    *,
    context_tokens: int,
    device: str | None = None,
    precision: Precision = "auto",
) -> LanguageModel:
    """The model at ``path`` (folder or file), ready to run ``context_tokens`` tokens.

    ``device`` ``None`` takes CUDA when there is one. ``precision`` ``"auto"`` keeps matrices of a
    4-bit file in 4 bits on a CPU and is bfloat16 elsewhere; ``"float32"`` is the reference. A
    packed model runs in the compiled kernels when there are any and ``precision`` is ``"auto"``.
    Raises ``ModelNotFound``, ``ModelFormatError``, ``UnsupportedModel`` and, for a context the
    model was not made for, ``UsageError``.
    """
    from inference.loading import load_any  # the loader needs the classes above

    return load_any(path, context_tokens=context_tokens, device=device, precision=precision)
