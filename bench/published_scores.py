"""What others publish of small models on the tasks of ``scores``, in percent, and where.

``openelm``: model card of apple/OpenELM, "Zero-Shot", and Table 4a of Mehta et al. 2024,
arXiv 2404.14619; no OpenBookQA is given. ``smollm2``: model cards of HuggingFaceTB/SmolLM2-135M
and -Instruct (Allal et al. 2025, arXiv 2502.02737), zero-shot; ARC is the mean of both parts; no
BoolQ is given, and of the instruct model no OpenBookQA and no WinoGrande. ``gemma3``: model card
of Gemma 3, 270M pre-trained, with the examples it names for each task.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["PUBLISHED", "Published"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """``scores``: accuracy in percent by task; ``shots`` as the source says."""

    name: str
    source: str
    shots: str
    scores: Mapping[str, float]


PUBLISHED: Final = (
    Published(
        name="OpenELM-270M",
        source="openelm",
        shots="0",
        scores={
            "hellaswag": 46.71,
            "arc_challenge": 26.45,
            "arc_easy": 45.08,
            "piqa": 69.75,
            "boolq": 53.98,
            "winogrande": 53.91,
        },
    ),
    Published(
        name="OpenELM-450M",
        source="openelm",
        shots="0",
        scores={
            "hellaswag": 53.97,
            "arc_challenge": 27.56,
            "arc_easy": 48.06,
            "piqa": 72.31,
            "boolq": 55.78,
            "winogrande": 58.01,
        },
    ),
    Published(
        name="SmolLM2-135M",
        source="smollm2",
        shots="0",
        scores={
            "hellaswag": 42.1,
            "arc": 43.9,
            "piqa": 68.4,
            "openbook_qa": 34.6,
            "winogrande": 51.3,
        },
    ),
    Published(
        name="SmolLM2-135M-Instruct",
        source="smollm2",
        shots="0",
        scores={"hellaswag": 40.9, "arc": 37.3, "piqa": 66.3},
    ),
    Published(
        name="Gemma-3-270M",
        source="gemma3",
        shots="10/25/0/0/0/5",
        scores={
            "hellaswag": 40.9,
            "arc_challenge": 29.0,
            "arc_easy": 57.7,
            "piqa": 67.7,
            "boolq": 61.4,
            "winogrande": 52.0,
        },
    ),
)
