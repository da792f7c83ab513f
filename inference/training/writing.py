"""Lets a model write text to learn from: its own distribution, and no data of anybody's.

Several sequences are sampled at once, each from its own seed (data-free distillation: Liu et al.
2023, LLM-QAT). Three of four begin as documents do, with one plain token drawn at random, every
fourth as conversations do. The ids are content of no person.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from inference.decoder import LanguageModel
from inference.engine import Sampling
from inference.sampling import Sampler
from inference.text import ChatMessage, TextModel
from lanai.content import Content

__all__ = ["write_sequences"]

AT_ONCE: Final = 64
TOP_P: Final = 0.97
Said = Callable[[int], None]


def write_sequences(
    decoder: LanguageModel,
    text: TextModel,
    *,
    count: int,
    length: int,
    seed: int = 0,
    on_written: Said | None = None,
) -> Tensor:
    """int64, (count, length). Sequence ``i`` depends on the seed and on ``i`` alone, up to how
    the machine sums rows. ``on_written`` is told how many are done."""
    done: list[Tensor] = []
    for first in range(0, count, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, count))
        seeds = [seed * count + number for number in numbers]
        openings = [_opening(text, each) for each in seeds]
        done.append(_written(decoder, openings, seeds, length, text.vocabulary))
        if on_written is not None:
            on_written(numbers.stop)
    return torch.cat(done)


def _opening(text: TextModel, seed: int) -> list[int]:
    if seed % 4 == 3 and text.template is not None:
        greeting = ChatMessage(role="user", text=Content("x"))
        return [text.render([greeting])[0]]
    # What parts documents: the model's BOS, or else its first stop token, as in GPT-2's family.
    document = min(text.stop_ids) if text.bos_id is None else text.bos_id
    random = np.random.default_rng(seed)
    while (token := int(random.integers(text.vocabulary))) in text.tokens.silent:
        pass
    return [document, token]


def _written(
    decoder: LanguageModel,
    openings: Sequence[Sequence[int]],
    seeds: Sequence[int],
    length: int,
    known: int,
) -> Tensor:
    """``known``: ids of tokens; a model's matrices may have rows of padding behind them."""
    samplers = [Sampler(Sampling(temperature=1.0, top_p=TOP_P, seed=seed)) for seed in seeds]
    caches = [decoder.new_cache(length) for _ in seeds]
    rows = [list(opening) for opening in openings]
    for at in range(length - 1):
        steps = decoder.step(torch.tensor([row[at] for row in rows]), caches)
        for row, sampler, step in zip(rows, samplers, steps, strict=True):
            if len(row) == at + 1:
                row.append(sampler.draw(step.logits[0, :known].numpy()))
    return torch.tensor(rows)
