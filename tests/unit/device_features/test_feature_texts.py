"""Pieces, places and doubts: what is computed without any model."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.budget import Budget
from device_agent.features.backing import backed, beginning
from device_agent.features.changes import changes
from device_agent.features.extracting import spans
from device_agent.features.pieces import fitting, sentences, told_once, whole_sentences
from device_agent.features.rewriting import facts
from device_agent.features.spelling import doubts, slips
from inference.guided import FormCheck, Regex
from lanai.errors import ContextOverflow, UsageError

WORDS = frozenset(
    [
        "yesterday",
        "received",
        "receive",
        "letter",
        "better",
        "from",
        "brother",
        "bother",
        "lives",
        "likes",
        "like",
        "there",
    ]
)


class Characters:
    """A context counted in characters."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    async def budget(self, prompt: str = "") -> Budget:
        return Budget(used=len(prompt), limit=self._limit)


class Dictionary:
    """An encoder that holds some words whole."""

    def encode(self, text: str) -> list[int]:
        return [0] if text.removeprefix(" ") in WORDS else [0, 1]


@given(text=st.text(alphabet="ab.\n ", max_size=200), limit=st.integers(12, 60))
async def test_pieces_joined_are_the_text(text: str, limit: int) -> None:
    """None is longer than what is left beside the answer; nothing is lost or doubled."""
    try:
        pieces = await fitting(Characters(limit), text, room=10)
    except ContextOverflow:
        assert max(map(len, re.findall(r"\s*\S*\s*", text))) > limit - 10
        return
    assert "".join(pieces) == text
    assert all(len(piece) <= limit - 10 for piece in pieces)


@given(text=st.text(max_size=60), corrected=st.text(max_size=60))
def test_changes_applied_are_the_correction(text: str, corrected: str) -> None:
    """For any two texts, whatever their script; places are code points of the first."""
    made = text
    for change in reversed(changes(text, corrected)):
        assert text[change.start : change.end] == change.original
        made = made[: change.start] + change.replacement + made[change.end :]
    assert made == corrected


def test_only_words_are_changed_words() -> None:
    """A word is one unit: no half of it, and neither neighbours nor signs."""
    text = "𝒞 <b>teh</b> dogs don't."
    [one, two] = changes(text, "𝒞 <b>the</b> dogs doesn't.")
    assert (one.start, one.end, one.original, one.replacement) == (5, 8, "teh", "the")
    assert (two.original, two.replacement) == ("don't", "doesn't")


def test_doubts_are_words_one_slip_from_known_ones() -> None:
    """Names, numbers, addresses, short words and words far from all known ones are left alone."""
    text = "Yesterdya I recieved Maria's leter from my brohter at http://leter.org (Leter, 4leter)."
    found = {text[d.start : d.end]: d.candidates for d in doubts(text, Dictionary())}
    assert found == {
        "Yesterdya": ("Yesterday",),
        "recieved": ("received",),
        "leter": ("letter",),
        "brohter": ("brother",),
    }


def test_slips_are_of_one_finger() -> None:
    """Left out, added, changed, swapped; nothing of two slips."""
    made = set(slips("teh"))
    assert {"the", "te", "then"[:3], "tech", "eh", "tea"} <= made
    assert "then" not in made


def test_facts_are_names_numbers_and_addresses() -> None:
    """A capital at a sentence's beginning is no name."""
    text = "Please call Ada Lovelace. Tell her: 14:30, 3.5%, see https://a.org/x and b@c.org."
    assert facts(text) == ("https://a.org/x", "b@c.org", "14:30", "3.5%", "Ada Lovelace")


def test_sentences_have_places() -> None:
    """White space between them belongs to none."""
    text = '  One. "Two!" Three\n\nFour'
    assert [text[a:b] for a, b in sentences(text)] == ["One.", '"Two!"', "Three", "Four"]
    assert told_once("A. B. A. C") == "A. B."
    assert told_once("no end here") == "no end here"
    assert whole_sentences("一二三。四五六。一二三。") == ["一二三。", "四五六。"]


def test_spans_are_runs_of_words_as_they_stand() -> None:
    """Signs within are kept, those at the ends are not; other words do not match."""
    check = FormCheck(Regex(pattern=spans("Ask (Ada) or O'Neil, 3.5% of it; a+b.")))
    for said in ("Ada", "Ask (Ada", "O'Neil", "O'Neil, 3.5% of it", "a+b", "3.5"):
        assert check.accepts(said), said
    for said in ("ada", "Adam", "Neil", "Ada O'Neil", "", "aab"):
        assert not check.accepts(said), said
    with pytest.raises(UsageError):
        spans("word " * 801)


NOTE = "The pump of house 14 broke on Tuesday. Maria called the plumber, who can come at 9:30."


def test_a_text_backs_what_retells_it() -> None:
    """Not what answers it, nor what states a name or number of its own."""
    assert backed("Maria called a plumber because the pump broke.", NOTE)
    assert not backed("I'm sorry, I'm afraid that I cannot help you with this.", NOTE)
    assert not backed("The pump of house 15 broke.", NOTE)
    assert not backed("The plumber, Mario Rossi, called.", NOTE)


def test_a_quotation_is_shorter_than_its_text() -> None:
    """Whole sentences, one at least; a line without an end is cut."""
    assert beginning(NOTE, most=3) == ["The pump of house 14 broke on Tuesday."]
    assert beginning("A b c. D e f. G h i. J k l.", most=3) == ["A b c.", "D e f."]
    assert beginning("word " * 90, most=1) == [("word " * 60) + "…"]
