"""llama.cpp as a peer to measure against, where llama-cpp-python is installed. Never required."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanai.errors import ModelFormatError

__all__ = ["LlamaCppRuns"]


class LlamaCppRuns:
    """A GGUF model in llama.cpp: the same timings as ``inference.device_speed`` takes of ours."""

    def __init__(self, file: Path, *, context_tokens: int, threads: int) -> None:
        import llama_cpp

        try:
            self._model: Any = llama_cpp.Llama(
                str(file),
                n_ctx=context_tokens,
                n_batch=512,
                n_threads=threads,
                n_threads_batch=threads,
                verbose=False,
            )
        except (ValueError, RuntimeError) as error:
            raise ModelFormatError(f"llama.cpp cannot load {file.name}") from error

    def prompt(self, ids: NDArray[np.int64]) -> None:
        self._model.reset()
        self._model.eval(ids.tolist())

    def step(self, token: int) -> None:
        self._model.eval([token])
