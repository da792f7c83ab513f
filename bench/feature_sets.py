"""The sets of `lanai bench features`, and their figures.

Texts are read, asked and graded in memory; what leaves are numbers by name.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import feature_choices, feature_texts
from bench.feature_case import Case
from bench.feature_figures import Metric, auroc, f1, mean, share

__all__ = ["SETS", "Set", "draw"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """``draw(folder, count, random)`` gives cases; ``metrics`` figures of their numbers."""

    draw: Callable[[Path, int, random.Random], list[Case]]
    metrics: Mapping[str, Metric]


def draw(name: str, folder: Path, count: int, *, seed: int) -> list[Case]:
    """The same cases for the same seed, and the first of them for a lower count."""
    return SETS[name].draw(folder, count, random.Random(f"{seed} {name}"))  # noqa: S311


ROUGE: Final = {"ROUGE-1": mean("rouge1"), "ROUGE-L": mean("rougeL"), "words": mean("words")}
NOTICED: Final = {
    "AUROC": auroc("score", "label"),
    "accuracy": mean("right"),
    "accuracy, of choices in words": mean("guided"),
}
ACTED: Final = {
    "right action": mean("named"),
    "refused, none fits": mean("refused"),
    "both": mean("right"),
    "both, of choices in words": mean("guided"),
    "AUROC of gain": auroc("gain", "fits"),
}
SETS: Final[Mapping[str, Set]] = {
    "summarize": Set(draw=feature_texts.abstracts, metrics=ROUGE),
    "rewrite": Set(
        draw=feature_texts.tones,
        metrics={
            "facts kept": share("kept", "stated"),
            "changed": mean("changed"),
            "length": mean("length"),
            "usable": mean("usable"),
            "warned": mean("warned"),
        },
    ),
    "proofread": Set(
        draw=feature_texts.typos,
        metrics={
            "typos fixed": share("fixed", "typos"),
            "right words spoiled": share("spoiled", "words"),
            "sentences perfect": mean("perfect"),
        },
    ),
    "prioritize sms": Set(draw=feature_choices.messages, metrics=NOTICED),
    "prioritize mail": Set(draw=feature_choices.requests, metrics=NOTICED),
    "extract": Set(
        draw=feature_choices.entities,
        metrics={
            "F1": f1("right", "answered", "wanted"),
            "precision": share("right", "answered"),
            "recall": share("right", "wanted"),
            "invented": share("invented", "answered"),
        },
    ),
    "suggest clinc": Set(draw=feature_choices.intents, metrics=ACTED),
    "suggest bfcl": Set(draw=feature_choices.functions, metrics=ACTED),
    "summarize long": Set(draw=feature_texts.meetings, metrics=ROUGE),
}
