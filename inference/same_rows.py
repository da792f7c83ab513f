"""Whether a model computes a few tokens in one pass exactly as it does one after the other.

Guessed tokens may only be verified where it does: a last bit that differs can turn a near tie, and
with it the rest of the answer. Sums of floats depend on their order, and which order a kernel takes
depends on the machine, the shapes and the number of rows, hardly ever on the values. So it is
tried, once, with ids that are nobody's: where a bit differs, a model does not speculate.
"""

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from inference.decoder import LanguageModel

__all__ = ["MOST_ROWS", "rows_alike"]

MOST_ROWS: Final = 4
"""Of a pass. Measured: both kinds of 4-bit kernel share most work among four rows."""

PASSES: Final = 4
"""With a different number of tokens before them, and of every number of rows."""


def rows_alike(decoder: "LanguageModel") -> bool:
    """To the last bit, for up to ``MOST_ROWS``. Costs about 25 short passes."""
    import torch

    tokens = min(2 + PASSES * MOST_ROWS, decoder.context_tokens)
    ids = np.random.default_rng(0).integers(0, decoder.config.vocabulary, tokens)
    alone, together = decoder.new_cache(tokens), decoder.new_cache(tokens)
    try:
        one = [decoder.forward(torch.from_numpy(ids[at : at + 1]), alone) for at in range(tokens)]
        expected = torch.cat([each.logits for each in one])
        at = 0
        while at < tokens:
            rows = min(2 + at % (MOST_ROWS - 1), tokens - at)
            found = decoder.forward_each(torch.from_numpy(ids[at : at + rows]), together)
            if not torch.equal(found, expected[at : at + rows]):
                return False
            at += rows
    finally:
        alone.wipe()
        together.wipe()
    return True
