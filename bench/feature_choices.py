"""Cases of features that choose: priorities, values in a text, actions."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from bench.evaluation_data import json_rows
from bench.feature_case import Case, Numbers, plainly, tsv
from device_agent import AsyncAgent, features
from inference.text import Tool

__all__ = ["entities", "functions", "intents", "messages", "requests"]


def messages(folder: Path, count: int, drawn: random.Random) -> list[Case]:
    """Messages of people and of sellers, as many of each."""
    return _labelled("message", tsv(folder / "sms_spam.tsv"), "ham", "spam", count, drawn)


def requests(folder: Path, count: int, drawn: random.Random) -> list[Case]:
    """Sentences of mail that carry a request, and others, as many of each."""
    return _labelled("request", tsv(folder / "email_intent_train.tsv"), "Yes", "No", count, drawn)


def _labelled(
    name: str,
    rows: Sequence[tuple[str, str]],
    high: str,
    low: str,
    count: int,
    drawn: random.Random,
) -> list[Case]:
    sides = [[text for label, text in rows if label == each] for each in (high, low)]
    for side in sides:
        drawn.shuffle(side)
    pairs = list(zip(*sides, strict=False))[: count // 2]
    return [
        _notification(f"{name}-{at}-{label}", text[:300], 1 - label)
        for at, pair in enumerate(pairs)
        for label, text in enumerate(pair)
    ]


def _notification(name: str, text: str, label: int) -> Case:
    order = [str(each) for each in features.Priority]

    async def feature(agent: AsyncAgent) -> Numbers:
        found = await features.prioritize(agent, [text])
        [ranked] = found.ranked
        guided = order.index(str(found.replies[0].value)) < 2
        place = order.index(ranked.reason)
        pressing = place < 2
        return {
            "guided": float(guided == bool(label)),
            "score": (ranked.score or 0.0) - 100.0 * place,
            "right": float(pressing == bool(label)),
            "label": float(label),
        }

    async def plain(agent: AsyncAgent) -> Numbers:
        prompt = f"Is this notification important? Answer yes or no.\n\n{text}"
        said = "yes" in (await plainly(agent, prompt, 8)).lower()
        return {
            "score": float(said),
            "right": float(said == bool(label)),
            "label": float(label),
        }

    return Case(id=name, feature=feature, plain=plain, failed={"right": 0.0, "label": float(label)})


class Named(BaseModel):
    """What is extracted."""

    person: str | None
    place: str | None
    organization: str | None


KINDS: Final = {"PERSON": "person", "GPE": "place", "ORGANIZATION": "organization"}


def entities(folder: Path, count: int, drawn: random.Random) -> list[Case]:
    rows = json.loads((folder / "presidio_synth_v2.json").read_text(encoding="utf-8"))
    unlike = {row["full_text"]: row for row in rows}
    cases = list[Case]()
    for at, row in enumerate(unlike.values()):
        kinds = [span["entity_type"] for span in row["spans"]]
        named = [kind for kind in kinds if kind in KINDS]
        if named and len(set(named)) == len(named) and len(row["full_text"].split()) <= 60:
            wanted = {
                KINDS[s["entity_type"]]: s["entity_value"]
                for s in row["spans"]
                if s["entity_type"] in KINDS
            }
            cases.append(_entity(f"entity-{at}", row["full_text"], wanted))
    drawn.shuffle(cases)
    return cases[:count]


def _entity(name: str, text: str, wanted: Mapping[str, str]) -> Case:
    def graded(said: Mapping[str, Any]) -> Numbers:
        answers = {k: str(v) for k, v in said.items() if v and k in Named.model_fields}
        right = sum(wanted.get(k, "").lower() == v.lower() for k, v in answers.items())
        invented = sum(v.lower() not in text.lower() for v in answers.values())
        return {
            "right": float(right),
            "answered": float(len(answers)),
            "wanted": float(len(wanted)),
            "invented": float(invented),
        }

    async def feature(agent: AsyncAgent) -> Numbers:
        return graded((await features.extract(agent, text, into=Named)).value.model_dump())

    async def plain(agent: AsyncAgent) -> Numbers:
        prompt = (
            "Extract from this text the person, the place and the organization, as JSON with the "
            f'keys "person", "place" and "organization", null where there is none.\n\n{text}'
        )
        said = await plainly(agent, prompt, 128)
        try:
            found = json.loads(said[said.index("{") : said.rindex("}") + 1])
        except ValueError:
            found = {}
        return graded(found if isinstance(found, dict) else {})

    return Case(id=name, feature=feature, plain=plain, failed=graded({}))


def intents(folder: Path, count: int, drawn: random.Random) -> list[Case]:
    """Eight intents an app; of three utterances, one is of none of them."""
    sets = json.loads((folder / "clinc150_small.json").read_text(encoding="utf-8"))
    intents = sorted({intent for _, intent in sets["val"]})
    cases = list[Case]()
    for at in range(count):
        offered = drawn.sample(intents, 8)
        if at % 3 == 2:
            text, wanted = drawn.choice(sets["oos_val"])[0], None
        else:
            wanted = offered[0]
            text = drawn.choice([said for said, intent in sets["val"] if intent == wanted])
        drawn.shuffle(offered)
        cases.append(_action(f"intent-{at}", text, [Tool(name=n) for n in offered], wanted))
    return cases


def functions(folder: Path, count: int, drawn: random.Random) -> list[Case]:
    """Four functions an app; every third question is one that its functions do not answer."""
    fit = list(json_rows(folder / "bfcl_simple_python.jsonl"))
    unfit = list(json_rows(folder / "bfcl_irrelevance.jsonl"))
    drawn.shuffle(fit)
    drawn.shuffle(unfit)
    cases = list[Case]()
    for at in range(count):
        row = unfit[at] if at % 3 == 2 else fit[at]
        others = [each for each in drawn.sample(fit, 3) if each is not row]
        tools = {t.name: t for each in (row, *others) for t in map(_tool, each["function"])}
        wanted = None if at % 3 == 2 else _tool(row["function"][0]).name
        text = row["question"][0][0]["content"]
        offered = list(tools.values())
        drawn.shuffle(offered)
        cases.append(_action(f"function-{at}", text, offered, wanted))
    return cases


def _tool(function: Mapping[str, Any]) -> Tool:
    """Without parameters: the choice is graded, not the arguments."""
    return Tool(name=function["name"].replace(".", "_")[:64], description=function["description"])


def _action(name: str, text: str, offered: Sequence[Tool], wanted: str | None) -> Case:
    def graded(said: str | None) -> Numbers:
        kind = "refused" if wanted is None else "named"
        return {kind: float(said == wanted), "right": float(said == wanted)}

    async def feature(agent: AsyncAgent) -> Numbers:
        found = await features.suggest_action(agent, text, offered)
        gain = {"gain": found.gain} if found.gain is not None else {}
        guided = {"guided": float(str(found.replies[0].value) == (wanted or "none"))}
        return {**graded(found.action), **gain, **guided, "fits": float(wanted is not None)}

    async def plain(agent: AsyncAgent) -> Numbers:
        lines = "\n".join(f"{each.name}: {each.description}".rstrip(": ") for each in offered)
        prompt = (
            "Which of these actions does the user want? Answer with its name, or none.\n"
            f"{lines}\n\nUser: {text}"
        )
        said = await plainly(agent, prompt, 24)
        places = {each.name: said.find(each.name) for each in offered if each.name in said}
        return graded(min(places, key=places.__getitem__) if places else None)

    return Case(id=name, feature=feature, plain=plain, free=graded(None), failed=graded("failed"))
