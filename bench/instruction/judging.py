"""The judged questions, and figures of what was answered, with intervals.

Questions, answers and gold labels stay in memory; what is kept of an answer is whether it was
right, whether it ended by itself, and how many tokens it took.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.instruction.asking import Answer, ask_all, load_model
from bench.instruction.lessons import asked_of, is_judged
from bench.instruction.replies import requests
from bench.intervals import wilson
from bench.question_sets import Drawn, load
from device_agent.grading import Question

__all__ = ["Mark", "judge", "judged_questions", "read_marks", "table"]

# SVAMP, ARC and BoolQ were not learned from at all; the same half of all sets is judged.
COUNTS: Final = {"triviaqa": 250, "svamp": 120, "arc_easy": 120, "openbook_qa": 100, "boolq": 100}
CHAT: Final = 60
SEED: Final = 7
MAX_TOKENS: Final = 100
DRAWS: Final = 4000
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "free answers: TriviaQA": ("triviaqa",),
    "free answers: SVAMP (arithmetic)": ("svamp",),
    "asked in chat: OpenBookQA": ("openbook_qa",),
    "asked in chat: ARC-easy": ("arc_easy",),
    "asked in chat: BoolQ": ("boolq",),
    "asked in chat: all three": ("arc_easy", "openbook_qa", "boolq"),
    "all": tuple(COUNTS),
    "requests without a right answer": ("chat",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Of one answer. ``good`` is false where there is no right answer."""

    id: str
    set: str
    good: bool
    ended: bool
    tokens: int


def judged_questions(folder: Path) -> list[Drawn]:
    """Rows whose question was kept for judging, and requests nobody grades, spread among them."""
    drawn = load(folder, COUNTS, seed=SEED, only=lambda row: is_judged(asked_of(row)))
    asked = [text for text in requests(folder, 400, SEED) if is_judged(text)]
    for number, text in enumerate(asked[:CHAT]):
        drawn.insert((number + 1) * len(drawn) // (CHAT + 1), _ungraded(number, text))
    return drawn


def _ungraded(number: int, text: str) -> Drawn:
    question = Question(
        group=f"chat {number}", category="chat", prompt=text, row={}, grader=lambda *_: False
    )
    return Drawn(id=f"chat-{number:03d}", question=question)


def judge(
    model: Path,
    adapter: Path | None,
    drawn: Sequence[Drawn],
    *,
    max_tokens: int,
    progress: Callable[[int, int], None],
) -> Iterator[Mark]:
    """Ask one model all questions; marks as answers end."""
    runner, text = load_model(model, adapter)
    prompts = [each.question.prompt for each in drawn]
    for at, answer in ask_all(runner, text, prompts, max_tokens=max_tokens, progress=progress):
        yield _mark(drawn[at], answer)


def _mark(each: Drawn, answer: Answer) -> Mark:
    return Mark(
        id=each.id,
        set=each.question.category,
        good=each.question.good(answer.text),
        ended=answer.ended,
        tokens=answer.tokens,
    )


def write_mark(path: Path, mark: Mark) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(mark)) + "\n")


def read_marks(path: Path) -> dict[str, Mark]:
    """By question."""
    rows = path.read_text(encoding="utf-8").splitlines()
    return {mark.id: mark for mark in (Mark(**json.loads(row)) for row in rows)}


def table(device: Path, before: Path, after: Path) -> list[dict[str, Any]]:
    """A row for each group of sets: shares with 95 % intervals, over questions all three saw."""
    marks = [read_marks(path) for path in (device, before, after)]
    common = sorted(set.intersection(*(set(each) for each in marks)))
    return [
        _row(name, [[each[key] for key in common if each[key].set in sets] for each in marks])
        for name, sets in GROUPS.items()
    ]


def _row(name: str, marks: Sequence[Sequence[Mark]]) -> dict[str, Any]:
    good = np.array([[mark.good for mark in each] for each in marks])
    device, before, after = good
    return {
        "questions": name,
        "n": good.shape[1],
        "device": _share(device),
        "cloud_before": _share(before),
        "cloud_after": _share(after),
        "gain": _paired(after.astype(float) - before),
        "better_of_two_before": _share(device | before),
        "better_of_two_after": _share(device | after),
        "cloud_alone_right_after": _share(after & ~device),
        "ended": [_mean([mark.ended for mark in each]) for each in marks],
        "tokens": [_mean([mark.tokens for mark in each]) for each in marks],
    }


def _share(right: "np.ndarray[Any, np.dtype[np.bool_]]") -> tuple[float, ...]:
    """Share and its interval."""
    return tuple(round(value, 4) for value in wilson(int(right.sum()), len(right)))


def _paired(difference: "np.ndarray[Any, np.dtype[np.float64]]") -> tuple[float, float, float]:
    """Mean over questions and its 95 % bootstrap interval."""
    chance = np.random.default_rng(SEED)
    draws = chance.integers(0, len(difference), (DRAWS, len(difference)))
    low, high = np.quantile(difference[draws].mean(1), (0.025, 0.975))
    return round(float(difference.mean()), 4), round(float(low), 4), round(float(high), 4)


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 3)
