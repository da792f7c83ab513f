"""Cases of features that write: summaries, tones, spelling."""

import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.evaluation_data import json_rows
from bench.feature_case import Case, Numbers, plainly, tsv
from bench.typos import mistyped
from device_agent import AsyncAgent, features
from device_agent.features.changes import changes
from device_agent.features.rewriting import facts

__all__ = ["abstracts", "meetings", "tones", "typos"]


def _rouge(said: str, wanted: Sequence[str]) -> dict[str, float]:
    from rouge_score.rouge_scorer import RougeScorer

    found = RougeScorer(["rouge1", "rougeL"], use_stemmer=True).score_multi(list(wanted), said)
    scores = {name: float(score.fmeasure) for name, score in found.items()}
    return scores | {"words": float(len(said.split()))}


def abstracts(folder: Path, count: int, drawn: random.Random) -> list[Case]:
    rows = list(json_rows(folder / "scitldr_a_dev.jsonl"))
    drawn.shuffle(rows)
    return [_abstract(row) for row in rows[:count]]


def _abstract(row: Mapping[str, Any]) -> Case:
    text, wanted = " ".join(row["source"]), row["target"]

    async def feature(agent: AsyncAgent) -> Numbers:
        return _rouge((await features.summarize(agent, text, length="sentence")).text, wanted)

    async def plain(agent: AsyncAgent) -> Numbers:
        prompt = f"Summarize this text in one sentence.\n\n{text}"
        return _rouge(await plainly(agent, prompt, 64), wanted)

    return Case(
        id=f"abstract-{row['paper_id']}",
        feature=feature,
        plain=plain,
        free=_rouge(row["source"][0], wanted),
        failed=_rouge("", wanted),
    )


def meetings(folder: Path, count: int, drawn: random.Random) -> list[Case]:
    """A query's own stretch of a meeting, and its answer; some are longer than the context."""
    cases = []
    for number, meeting in enumerate(json_rows(folder / "qmsum_val.jsonl")):
        turns = [f"{t['speaker']}: {t['content']}" for t in meeting["meeting_transcripts"]]
        for at, query in enumerate(meeting["specific_query_list"]):
            text = "\n".join(
                turn
                for first, last in query["relevant_text_span"]
                for turn in turns[int(first) : int(last) + 1]
            )
            if 200 <= len(text.split()) <= 2500:
                cases.append(_meeting(f"meeting-{number}-{at}", text, query["answer"]))
    drawn.shuffle(cases)
    return cases[: max(count // 6, 1)]  # each takes as long as six others


def _meeting(name: str, text: str, answer: str) -> Case:
    async def feature(agent: AsyncAgent) -> Numbers:
        return _rouge((await features.summarize(agent, text)).text, [answer])

    async def plain(agent: AsyncAgent) -> Numbers:
        # What an app does without pieces: as much of the beginning as fits.
        prompt = f"Summarize this text in up to three sentences.\n\n{text}"
        session = agent.session()
        while (await session.budget(prompt)).left < 160:
            prompt = prompt[: int(len(prompt) * 0.9)]
        return _rouge(await plainly(agent, prompt, 160), [answer])

    lead = " ".join(text.split()[:60])
    return Case(
        id=name, feature=feature, plain=plain, free=_rouge(lead, [answer]), failed=_rouge("", [""])
    )


def tones(folder: Path, count: int, drawn: random.Random) -> list[Case]:
    rows = [text for _, text in tsv(folder / "email_intent_train.tsv")]
    long = [text for text in rows if 10 <= len(text.split()) <= 60 and facts(text)]
    drawn.shuffle(long)
    tones: tuple[features.Tone, ...] = ("friendly", "professional", "concise")
    return [_tone(f"tone-{at}", text, tones[at % 3]) for at, text in enumerate(long[:count])]


def _tone(name: str, text: str, tone: features.Tone) -> Case:
    stated = facts(text)

    def graded(said: str) -> Numbers:
        kept = sum(fact.lower() in said.lower() for fact in stated)
        ratio = len(said.split()) / len(text.split())
        changed = said.split() != text.split()
        good = changed and kept == len(stated) and 0.3 <= ratio <= 2
        return {
            "kept": float(kept),
            "stated": float(len(stated)),
            "changed": float(changed),
            "length": ratio,
            "usable": float(good),
        }

    async def feature(agent: AsyncAgent) -> Numbers:
        result = await features.rewrite(agent, text, tone=tone)
        # What an app that heeds `lost` would show: wrong only where it warned of nothing.
        return {**graded(result.text), "warned": float(bool(result.lost))}

    async def plain(agent: AsyncAgent) -> Numbers:
        prompt = f"Rewrite this text in a {tone} tone.\n\n{text}"
        return graded(await plainly(agent, prompt, 2 * len(text) // 3 + 32))

    return Case(id=name, feature=feature, plain=plain, free=graded(text), failed=graded(""))


def typos(folder: Path, count: int, drawn: random.Random) -> list[Case]:
    cases = list[Case]()
    rows = list(json_rows(folder / "gsm8k_test.jsonl"))
    drawn.shuffle(rows)
    for at, row in enumerate(rows):
        said = re.split(r"(?<=[.?!])\s+", row["question"])[1:]
        if said and 8 <= len(said[0].split()) <= 30 and len(cases) < count:
            cases.append(_typo(f"typo-{at}", said[0], mistyped(said[0], drawn, most=2)))
    return cases


def _typo(name: str, right: str, wrong: str) -> Case:
    def graded(said: str) -> Numbers:
        marks = changes(wrong, right)
        fixes = {(c.start, c.end): str(c.replacement) for c in marks}
        made = {(c.start, c.end): str(c.replacement) for c in changes(wrong, said)}
        fixed = sum(made.get(place) == meant for place, meant in fixes.items())
        return {
            "typos": float(len(fixes)),
            "fixed": float(fixed),
            "made": float(len(made)),
            "spoiled": float(sum(place not in fixes for place in made)),
            "words": float(len(wrong.split())),
            "perfect": float(said == right),
        }

    async def feature(agent: AsyncAgent) -> Numbers:
        return graded((await features.proofread(agent, wrong)).text)

    async def plain(agent: AsyncAgent) -> Numbers:
        prompt = (
            "Correct the spelling mistakes in this text. Answer with the text alone.\n\n" + wrong
        )
        return graded(await plainly(agent, prompt, len(wrong) // 2 + 16))

    return Case(id=name, feature=feature, plain=plain, free=graded(wrong), failed=graded(wrong))
