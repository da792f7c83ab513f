"""What the device model writes to everyday requests: the chat form, learned from its own answers.

It is asked to be short; the lessons leave that out, so that being short becomes the manner. Answers
that ran on, repeat themselves or talk of the model itself are dropped.
"""

import asyncio
import itertools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.instruction.lessons import Lesson, is_judged
from inference.catalog import InstalledModel
from inference.engine import Finished, GenerateOptions, Token
from inference.process import ProcessEngine
from inference.text import ChatMessage, TextModel, load_text_model
from lanai.content import Content

__all__ = ["device_replies", "requests"]

MAX_TOKENS: Final = 90
AT_ONCE: Final = 8
CONTEXT_TOKENS: Final = 1024
_MANNER: Final = " Answer in one or two short sentences."
_ITSELF: Final = re.compile(r"SmolLM|Hugging ?Face|language model|\bAI\b|as an assistant", re.I)
_INTENTS: Final = (
    "definition", "fun_fact", "greeting", "thank_you", "goodbye", "travel_suggestion", "recipe",
    "meal_suggestion", "ingredient_substitution", "improve_credit_score", "tire_change",
    "jump_start", "tell_joke", "meaning_of_life", "food_last", "cook_time", "plug_type",
    "nutrition_info", "oil_change_how", "international_visa",
)  # fmt: skip
_FORMS: Final = (
    "Explain what {} is.",
    "What is {} good for?",
    "Why does {} matter?",
    "Describe {} to a child.",
    "Give me a tip about {}.",
    "Write a sentence about {}.",
    "Tell me something interesting about {}.",
    "How does {} work?",
)
_TOPICS: Final = (
    "photosynthesis", "a rainbow", "gravity", "a vaccine", "the stock market", "composting",
    "a computer program", "recycling", "a balanced diet", "the moon", "a volcano", "electricity",
    "a library", "meditation", "the human heart", "a spreadsheet", "learning a language",
    "public transport", "a healthy sleep", "the water cycle", "a good password", "music",
    "regular exercise", "a to-do list", "bread baking", "a telescope", "the immune system",
    "chess", "insurance", "a bicycle", "saving money", "solar power", "an earthquake", "honey bees",
    "a contract", "gardening", "time management", "a map", "inflation", "a battery",
)  # fmt: skip
_ERRANDS: Final = (
    "Write a short thank-you note to {}.",
    "Write a polite message that cancels an appointment with {}.",
    "Suggest a small gift for {}.",
    "Write one friendly sentence to invite {} to lunch.",
    "How do I apologize to {}?",
)
_PEOPLE: Final = (
    "a colleague", "my neighbour", "my teacher", "a friend", "my sister", "my manager",
    "a customer", "my dentist", "my grandmother", "the landlord",
)  # fmt: skip


def requests(folder: Path, count: int, seed: int) -> list[str]:
    """``count`` requests: of CLINC150's chatty intents, and made of forms and topics."""
    rows = json.loads((folder / "clinc150_small.json").read_text(encoding="utf-8"))["train"]
    said = [_as_written(text) for text, intent in rows if intent in _INTENTS]
    made = [form.format(topic) for form, topic in itertools.product(_FORMS, _TOPICS)]
    made += [form.format(person) for form, person in itertools.product(_ERRANDS, _PEOPLE)]
    chance = random.Random(seed)  # noqa: S311  a draw anyone can repeat
    for texts in (said, made):
        chance.shuffle(texts)
    half = count // 2
    return said[:half] + made[: count - half]


def _as_written(text: str) -> str:
    """CLINC's requests as one types them: a capital, and a mark at the end."""
    asks = re.match(r"(what|how|who|why|where|when|which|can|could|is|are|do|does|will)\b", text)
    return text[:1].upper() + text[1:] + ("?" if asks else ".")


async def device_replies(model: InstalledModel, asked: list[str], *, threads: int) -> list[Lesson]:
    """Lessons of those requests that were answered well enough; greedy, so always the same."""
    engine = await ProcessEngine.start(
        model.path,
        context_tokens=CONTEXT_TOKENS,
        threads=threads,
        weights_sha256=model.sha256,
    )
    text, gate = load_text_model(model.path), asyncio.Semaphore(AT_ONCE)
    try:
        answers = await asyncio.gather(*(_reply(engine, text, gate, one) for one in asked))
    finally:
        await engine.close()
    return list(_kept(zip(asked, answers, strict=True)))


async def _reply(
    engine: ProcessEngine, text: TextModel, gate: asyncio.Semaphore, prompt: str
) -> str | None:
    """The whole answer; ``None`` for one that did not end by itself."""
    ids = text.render([ChatMessage(role="user", text=Content(prompt + _MANNER))])
    options = GenerateOptions(max_tokens=MAX_TOKENS, stop_ids=text.stop_ids)
    stream, said, ended = text.decoder(), list[str](), False
    async with gate:
        async for event in engine.submit(ids, options):
            if isinstance(event, Token):
                said.append(stream.push(event.id))
            elif isinstance(event, Finished):
                ended = event.reason == "stop"
    return "".join([*said, stream.finish()]).strip() if ended else None


def _kept(pairs: Iterator[tuple[str, str | None]]) -> Iterator[Lesson]:
    for prompt, answer in pairs:
        if answer and not is_judged(prompt) and _reads_well(answer):
            yield Lesson(source="device_replies", prompt=prompt, answer=answer)


def _reads_well(answer: str) -> bool:
    """3 to 70 words, few of them again and again, nothing about itself."""
    words = answer.lower().split()
    varied = len(set(words)) > 0.55 * len(words)
    return 3 <= len(words) <= 70 and varied and _ITSELF.search(answer) is None
