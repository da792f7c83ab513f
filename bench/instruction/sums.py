"""Arithmetic of everyday things, made up here: short problems whose answer shows its sum."""

import random
from collections.abc import Callable, Iterator
from typing import Final

from bench.instruction.lessons import Lesson

__all__ = ["made_up_sums", "shown_sum"]

_NAMES: Final = (
    "Ada", "Bela", "Chen", "Dora", "Emil", "Farah", "Goran", "Hana", "Ivo", "Jun", "Kofi", "Lena",
    "Mara", "Nils", "Olga", "Pavel", "Rosa", "Sami", "Tara", "Uma", "Vera", "Yusuf", "Zoe",
)  # fmt: skip
_THINGS: Final = (
    "apples", "stamps", "pencils", "marbles", "postcards", "shells", "books", "tickets", "candles",
    "eggs", "photos", "coins", "cups", "buttons", "bricks", "plants", "songs", "stickers",
)  # fmt: skip
_PLACES: Final = ("box", "bag", "basket", "drawer", "crate", "jar", "shelf", "tray")


def made_up_sums(count: int, seed: int) -> Iterator[Lesson]:
    """``count`` problems of one or two steps; the same for the same ``seed``."""
    chance = random.Random(seed)  # noqa: S311  a draw anyone can repeat
    kinds = (_more, _less, _left_of_two, _together, _each, _shared, _difference, _before, _price)
    for number in range(count):
        prompt, steps = kinds[number % len(kinds)](chance)
        yield Lesson(source="sums", prompt=prompt, answer=shown_sum(steps))


def shown_sum(steps: list[str]) -> str:
    """``["3 + 4 = 7"]`` as an answer: the sums, then the number alone."""
    return f"{'. '.join(steps)}. The answer is {steps[-1].rpartition('= ')[2]}."


_Made = tuple[str, list[str]]
_Kind = Callable[[random.Random], _Made]


def _words(chance: random.Random) -> tuple[str, str, str, str]:
    name, other = chance.sample(_NAMES, 2)
    return name, other, chance.choice(_THINGS), chance.choice(_PLACES)


def _numbers(chance: random.Random, most: int = 99) -> tuple[int, int]:
    """Two numbers, the larger one first, never equal."""
    low, high = sorted(chance.sample(range(2, chance.choice((12, 40, most, 10 * most))), 2))
    return high, low


def _more(chance: random.Random) -> _Made:
    name, other, things, _ = _words(chance)
    a, b = _numbers(chance)
    got = chance.choice((f"{other} gave {name} {b} more", f"then {name} found {b} more"))
    return (
        f"{name} had {a} {things}, and {got}. How many {things} does {name} have now?",
        [f"{a} + {b} = {a + b}"],
    )


def _less(chance: random.Random) -> _Made:
    name, other, things, _ = _words(chance)
    a, b = _numbers(chance)
    lost = chance.choice((f"gave {b} of them to {other}", f"lost {b} of them", f"sold {b}"))
    return (
        f"{name} had {a} {things} and {lost}. How many {things} are left?",
        [f"{a} - {b} = {a - b}"],
    )


def _left_of_two(chance: random.Random) -> _Made:
    """One of the numbers has nothing to do with the question."""
    name, _, things, _ = _words(chance)
    unused = chance.choice([thing for thing in _THINGS if thing != things])
    a, b = _numbers(chance)
    return (
        f"{name} bought {a} {things} and {chance.randint(2, 90)} {unused}. After using {b} {things}"
        f", how many {things} does {name} have?",
        [f"{a} - {b} = {a - b}"],
    )


def _together(chance: random.Random) -> _Made:
    name, other, things, _ = _words(chance)
    a, b = _numbers(chance)
    return (
        f"There are {a} {things} on the table. {name} brings {b} and {other} takes away {b // 2}. "
        f"How many {things} are on the table in the end?",
        [f"{a} + {b} = {a + b}", f"{a + b} - {b // 2} = {a + b - b // 2}"],
    )


def _each(chance: random.Random) -> _Made:
    name, _, things, place = _words(chance)
    a, b = chance.randint(2, 12), chance.randint(2, 30)
    return (
        f"{name} has {a} {place}s with {b} {things} in each {place}. How many {things} is that in "
        "total?",
        [f"{a} * {b} = {a * b}"],
    )


def _shared(chance: random.Random) -> _Made:
    name, _, things, place = _words(chance)
    a, b = chance.randint(2, 12), chance.randint(2, 15)
    question = chance.choice(
        (
            f"{name} puts {a * b} {things} into {a} {place}s, the same number in each. How many "
            f"{things} are in one {place}?",
            f"{a * b} {things} are shared equally among {a} children. How many {things} does each "
            "child get?",
        )
    )
    return question, [f"{a * b} / {a} = {b}"]


def _difference(chance: random.Random) -> _Made:
    name, other, things, _ = _words(chance)
    a, b = _numbers(chance)
    asked = chance.choice(
        (
            f"How many more {things} does {name} have than {other}?",
            f"How many {things} does {other} need to have as many as {name}?",
        )
    )
    return f"{name} has {a} {things}. {other} has {b} {things}. {asked}", [f"{a} - {b} = {a - b}"]


def _before(chance: random.Random) -> _Made:
    name, other, things, _ = _words(chance)
    a, b = _numbers(chance)
    return (
        f"After {name} gave {b} {things} to {other}, {a} {things} were left. How many {things} did "
        f"{name} have at first?",
        [f"{a} + {b} = {a + b}"],
    )


def _price(chance: random.Random) -> _Made:
    name, _, things, _ = _words(chance)
    a, b = chance.randint(2, 9), chance.randint(2, 12)
    paid = a * b + chance.randint(1, 40)
    return (
        f"{name} buys {a} {things} for {b} dollars each and pays with {paid} dollars. How much "
        f"money does {name} get back?",
        [f"{a} * {b} = {a * b}", f"{paid} - {a * b} = {paid - a * b}"],
    )
