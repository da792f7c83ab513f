"""Graders, and question files that are refused by line."""

import json

import pytest

from device_agent.grading import own_grader, read_questions
from lanai.errors import UsageError


@pytest.fixture
def questions(tmp_path):
    def write(*rows, own=None):
        path = tmp_path / "questions.jsonl"
        path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
        return read_questions(path, own)

    return write


@pytest.mark.parametrize(
    ("row", "right", "wrong"),
    [
        ({"answer": ["Paris", "Lutetia"]}, "The Paris.", "Paris, France"),
        ({"answer": 1200, "grader": "numeric"}, "First 3, so 1,200", "1200 less 3"),
        ({"answer": 1, "grader": "choice"}, "The answer is B", "A. no"),
        (
            {"schema": {"type": "object", "required": ["a"]}, "grader": "schema"},
            '{"a": 1}',
            '{"b": 1}',
        ),
    ],
)
def test_each_grader_tells_right_from_wrong(questions, row, right, wrong):
    """By the rule its word stands for."""
    (question,) = questions({"prompt": "?", **row})
    assert question.good(right)
    assert not question.good(wrong)


def test_a_grader_of_ones_own_gets_answer_and_row(questions, monkeypatch, tmp_path):
    """Named as module:function; it may use any key of the row."""
    (tmp_path / "my_grader.py").write_text(
        "def long(answer, row):\n    return len(answer) > row['n']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (question,) = questions({"prompt": "?", "n": 3}, own=own_grader("my_grader:long"))
    assert question.good("four")
    assert not question.good("two")


def test_a_grader_that_fails_is_named_by_its_line(questions):
    """By the kind of its error; what it says may quote the answer."""

    def grade(answer, row):
        raise KeyError(answer)

    _, second = questions({"prompt": "?"}, {"prompt": "!"}, own=grade)
    with pytest.raises(UsageError, match=r"line 2: the grader raised KeyError") as caught:
        second.good("secret")
    assert "secret" not in str(caught.value)


def test_a_grader_whose_module_fails_is_a_usage_error(monkeypatch, tmp_path):
    """As one that is not there."""
    (tmp_path / "broken_grader.py").write_text("def g(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="SyntaxError"):
        own_grader("broken_grader:g")


@pytest.mark.parametrize("name", ["nothing", "json:absent", "no.such.module:f", "json:__name__"])
def test_what_is_no_grader_is_refused(name):
    """A usage error, never a traceback."""
    with pytest.raises(UsageError):
        own_grader(name)


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ("{secret", "line 2: not JSON"),
        ({"answer": "secret"}, "line 2: needs a text"),
        ({"prompt": "secret", "grader": "os:system"}, "line 2: grader must be"),
        ({"prompt": "secret", "grader": "numeric", "answer": "x"}, "line 2: the grader numeric"),
        ({"prompt": "secret"}, "line 2: the grader exact needs a text"),
        ("[" * 100_000, "line 2: not JSON"),
    ],
)
def test_a_bad_line_is_refused_without_its_content(questions, row, named):
    """The place and the key; a file can never name code to run."""
    with pytest.raises(UsageError) as caught:
        questions({"prompt": "?", "answer": "yes"}, row)
    assert named in caught.value.message
    assert "secret" not in caught.value.message
