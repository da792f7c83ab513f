"""Token sequences to learn from, and batches of them.

An example marks the tokens that count: those of the answer when a model learns to answer, all of
them when it learns to do as its teacher does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lanai.errors import UsageError

__all__ = ["Batch", "Example", "batches", "split"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Example:
    """``ids``: int64, (n,). ``wanted``: bool, (n,): which of them count."""

    ids: Tensor
    wanted: Tensor

    def __post_init__(self) -> None:
        if self.ids.shape != self.wanted.shape or self.ids.dim() != 1:
            raise UsageError("an example's marks are as many as its tokens")

    def __len__(self) -> int:
        return self.ids.shape[0]

    @classmethod
    def whole(cls, ids: Tensor) -> "Example":
        """Every token counts."""
        return cls(ids=ids.long(), wanted=torch.ones(ids.shape, dtype=torch.bool))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Batch:
    """Sequences, padded behind with token 0, which never counts.

    ``ids``: int64, ``wanted``: bool, (sequences, n). ``keys`` say which examples they are.
    """

    ids: Tensor
    wanted: Tensor
    lengths: Tensor
    keys: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Without padding."""
        return int(self.lengths.sum())

    @classmethod
    def of(cls, examples: Sequence[Example], keys: Sequence[int]) -> "Batch":
        chosen = [examples[key] for key in keys]
        pad = torch.nn.utils.rnn.pad_sequence
        return cls(
            ids=pad([example.ids for example in chosen], batch_first=True),
            wanted=pad([example.wanted for example in chosen], batch_first=True),
            lengths=torch.tensor([len(example) for example in chosen]),
            keys=tuple(keys),
        )


def batches(
    examples: Sequence[Example], keys: Sequence[int], tokens: int, random: torch.Generator
) -> Iterator[Batch]:
    """One epoch over the examples of ``keys``, in an order drawn from ``random``.

    Sequences of similar length share a batch, so that little is padding; padded, a batch has at
    most ``tokens`` tokens, or one sequence.
    """
    drawn = [keys[at] for at in torch.randperm(len(keys), generator=random).tolist()]
    groups = list(_grouped(examples, sorted(drawn, key=lambda key: len(examples[key])), tokens))
    for at in torch.randperm(len(groups), generator=random).tolist():
        yield Batch.of(examples, groups[at])


def _grouped(
    examples: Sequence[Example], ascending: Sequence[int], tokens: int
) -> Iterator[list[int]]:
    group: list[int] = []
    for key in ascending:
        if group and (len(group) + 1) * len(examples[key]) > tokens:
            yield group
            group = []
        group.append(key)
    if group:
        yield group


def split(count: int, share: float, random: torch.Generator) -> tuple[list[int], list[int]]:
    """Keys to learn from and keys held out, at least one each. ``UsageError`` for too few."""
    held = max(1, round(count * share))
    if count < 2 or held >= count:
        raise UsageError(f"{count} examples leave none to learn from", hint="give more examples")
    order = torch.randperm(count, generator=random).tolist()
    return sorted(order[held:]), sorted(order[:held])
