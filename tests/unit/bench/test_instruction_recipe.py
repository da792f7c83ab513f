"""What the chat adapter learns from, and what is kept from it."""

import random
import re
from pathlib import Path

import pytest

from bench.instruction.chat_form import END_OF_TURN, TEMPLATE
from bench.instruction.lessons import LICENCES, asked_of, is_judged, question_key
from bench.instruction.sets import SETS
from bench.instruction.sums import made_up_sums
from bench.question_sets import FILES, _rows
from inference.text import ChatMessage
from inference.text.template import ChatTemplate
from lanai.content import Content


def test_a_question_is_on_one_side_whatever_stands_between_its_words() -> None:
    """Quotes, case and spaces do not move a question to the other side."""
    for number in range(50):
        question = f"Who wrote book {number}?"
        assert is_judged(question) == is_judged(f'"WHO wrote  book {number}"')


def test_about_half_of_all_questions_are_kept_for_judging() -> None:
    """The cut is even, so both sides are large."""
    share = sum(is_judged(f"question {number}") for number in range(2000)) / 2000
    assert 0.45 < share < 0.55


def test_no_judged_question_is_in_a_lesson(data_folder: Path) -> None:
    """Of each set that is judged, no kept question's words stand in any prompt of the lessons."""
    text = data_folder / "text"
    kept = {
        question_key(asked_of(row))
        for name in FILES
        for row in _rows(text / f"{FILES[name]}.jsonl")
        if is_judged(asked_of(row)) or name in {"svamp", "arc_easy", "boolq"}
    }
    for name, (_, build) in SETS.items():
        for lesson in build(text, random.Random(1)):
            question = re.split(r"\nA\. ", lesson.prompt)[0]
            assert question_key(question) not in kept, name


def test_every_source_has_a_licence(data_folder: Path) -> None:
    """A set is learned from only when its licence is written down."""
    for name, (_, build) in SETS.items():
        sources = {lesson.source for lesson in build(data_folder / "text", random.Random(1))}
        assert sources == {name}
        assert name in LICENCES


def test_a_made_up_sum_is_right() -> None:
    """Every step shown is true, and the last one is the answer."""
    for lesson in made_up_sums(300, seed=3):
        steps = re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", lesson.answer)
        for left, sign, right, said in steps:
            a, b = int(left), int(right)
            assert {"+": a + b, "-": a - b, "*": a * b, "/": a // b}[sign] == int(said)
        assert lesson.answer.endswith(f"The answer is {steps[-1][3]}.")


def _rendered(*turns: tuple[str, str]) -> str:
    messages = [ChatMessage(role=role, text=Content(text)) for role, text in turns]
    parts = ChatTemplate(TEMPLATE, {"bos_token": "<bos>"}).render(messages)
    return "".join(part.text for part in parts)


def test_an_answer_of_the_template_ends_with_the_stop_token() -> None:
    """Each finished turn is closed, and the next answer is opened."""
    text = _rendered(("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"))
    assert text == (
        "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHello"
        f"{END_OF_TURN}\n<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"
    )


def test_what_the_system_says_heads_the_users_turn() -> None:
    """Gemma knows two roles: there is no third kind of turn."""
    text = _rendered(("system", "Be brief."), ("user", "Hi"))
    assert text == (
        "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\n"
    )


@pytest.mark.parametrize("name", sorted(SETS))
def test_a_choice_names_the_letter_beside_its_text(data_folder: Path, name: str) -> None:
    """``grass (D)``: the letter an answer ends with is that of the line its text stands in."""
    for lesson in SETS[name][1](data_folder / "text", random.Random(1)):
        found = re.fullmatch(r"(.*) \(([A-D])\)", lesson.answer, re.DOTALL)
        if found and "\nA. " in lesson.prompt:
            assert f"\n{found[2]}. {found[1]}" in lesson.prompt
