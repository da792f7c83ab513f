"""What an engine's process goes on needing on a node; a device's engine is not confined so.

It holds token ids and weights. It has no text, no key and nobody to speak to but those who hold
the other ends of its sockets.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lanai.confinement import Confinement, hardware_view, interpreter_view

__all__ = ["engine_confinement"]

PACKAGES: Final = ("inference", "lanai")
THREAD_COUNTS: Final = frozenset(
    {"OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OPENBLAS_NUM_THREADS"}
)
GPU_STATE: Final = Path("/proc/driver/nvidia")


def engine_confinement(model: Path) -> Confinement:
    """For the engine of the model at ``model`` (folder or file), before torch is imported."""
    return Confinement(
        read=(
            *interpreter_view(*PACKAGES),  # torch is imported inside
            *hardware_view(),  # by which it chooses its kernels and threads
            *_files(model),
            GPU_STATE,
        ),
        write=tuple(Path("/dev").glob("nvidia*")),  # spoken to by ioctl, where there are any
        environment=THREAD_COUNTS,  # read by OpenMP when torch loads it
    )


def _files(model: Path) -> Iterator[Path]:
    """The model, and what its folder links to: a view follows no link out of itself."""
    yield model
    if model.is_dir():
        yield from (entry.resolve() for entry in model.iterdir() if entry.is_symlink())
