"""What an engine checks before a request costs anything. Shared by every engine implementation."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.adapters.names import check_name
from inference.engine import EngineInfo, GenerateOptions, Sampling
from inference.refusals import no_token
from inference.sampling import allowed_tokens
from lanai.errors import ContextOverflow, UsageError

__all__ = ["check_adapter", "check_mask", "check_options", "check_prompt", "check_prompt_again"]

MAX_STOP_IDS: Final = 4096


def check_prompt(
    ids: Sequence[int], options: GenerateOptions, info: EngineInfo
) -> NDArray[np.int32]:
    """The prompt as int32, shape (n,). Raises ``ContextOverflow``, ``UsageError``."""
    _check_room(len(ids), options, info)
    try:
        prompt = np.asarray(ids, dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(
            "token ids are not whole numbers", hint="take those of the tokenizer"
        ) from None
    _check_range(prompt, info)
    return prompt.astype("<i4")


def check_prompt_again(
    prompt: NDArray[np.int32], options: GenerateOptions, info: EngineInfo
) -> None:
    """The rules of ``check_prompt`` on what came over the wire, without making a copy of it."""
    _check_room(prompt.size, options, info)
    _check_range(prompt, info)


def _check_room(count: int, options: GenerateOptions, info: EngineInfo) -> None:
    used = count + options.max_tokens
    if used > info.context_tokens:
        raise ContextOverflow(
            f"{count} prompt tokens and {options.max_tokens} for the answer exceed the "
            f"context of {info.context_tokens}",
            limit=info.context_tokens,
            used=used,
            hint="shorten the prompt, or lower max_tokens",
        )
    if count == 0:
        raise UsageError("the prompt is empty", hint="give at least one token")


def _check_range(prompt: NDArray[np.signedinteger], info: EngineInfo) -> None:
    if prompt.min() < 0 or prompt.max() >= info.vocabulary:
        raise no_token(info.vocabulary)


def check_options(options: GenerateOptions) -> None:
    """Raises ``UsageError`` naming the first option that makes no sense."""
    if options.max_tokens < 0:
        raise UsageError("max_tokens is negative", hint="0 or more")
    if len(options.stop_ids) > MAX_STOP_IDS:
        raise UsageError(f"more than {MAX_STOP_IDS} stop ids", hint="name fewer")
    check_sampling(options.sampling)


def check_sampling(sampling: Sampling) -> None:
    """Raises ``UsageError``: nothing is clamped silently."""
    if not (math.isfinite(sampling.temperature) and sampling.temperature >= 0):
        raise UsageError("temperature is not a number of at least 0", hint="0 is greedy")
    if not 0 < sampling.top_p <= 1:
        raise UsageError("top_p is not in (0, 1]", hint="1 leaves all tokens in")
    if sampling.top_k < 0:
        raise UsageError("top_k is negative", hint="0 leaves all tokens in")
    if sampling.seed is not None and not 0 <= sampling.seed < 1 << 64:
        raise UsageError("seed is not an unsigned 64-bit number", hint="None draws one")


def check_adapter(adapter: str | None, info: EngineInfo) -> None:
    """Raises ``UsageError`` for a name that is none, or an engine of the base weights only."""
    if adapter is None:
        return
    if not info.adapters:
        raise UsageError("this engine has no adapters", hint="leave `adapter` unset")
    check_name(adapter)


def check_mask(mask: NDArray[np.uint32] | None, vocabulary: int) -> NDArray[np.uint32] | None:
    """The constraint's bitmask, found well-formed and not empty. Raises ``UsageError``."""
    if mask is None:
        return None
    words = -(-vocabulary // 32)
    if mask.shape != (words,) or mask.dtype != np.uint32:
        raise UsageError(f"the constraint's mask is not uint32 of shape ({words},)")
    if not allowed_tokens(mask, vocabulary).any():
        raise UsageError("the constraint allows no token")
    return mask
