"""Marks are random, named by what stands beside their common part, and stable as token ids."""

import random

import pytest

from cloud_node.audit.marks import COMMON, OWN, Marks, stable_run
from lanai.errors import AuditError


def test_a_mark_holds_the_common_part_between_letters_of_its_own(marks) -> None:
    """Every mark differs, is letters only, and has the run's common part in its middle."""
    made = {marks.make(f"part {i}") for i in range(100)}
    assert len(made) == 100
    assert all(len(mark) == 2 * OWN + COMMON and mark.isalpha() for mark in made)
    assert all(mark[OWN:-OWN] == marks.common for mark in made)


def test_either_end_names_the_mark(marks) -> None:
    """The letters before or after the common part suffice to say which mark it was."""
    mark = marks.make("the prompt")
    assert marks.label(mark[:OWN]) == marks.label("?", mark[-OWN:]) == "the prompt"
    assert marks.label("abc", "") is None


def test_two_runs_share_no_mark(marks) -> None:
    """Another run's common part is another one."""
    assert Marks(lambda text: [ord(c) for c in text]).common != marks.common


def test_the_stable_run_is_the_longest_in_all_sequences() -> None:
    """Of all runs that stand in each sequence, the longest is found, wherever it stands."""
    sequences = [[9, 1, 2, 3, 4, 5, 8], [7, 7, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]]
    assert stable_run(sequences) == (1, 2, 3, 4, 5)
    assert stable_run([[1, 2], [3, 4]]) == ()


def test_a_tokenizer_without_stable_ids_is_refused() -> None:
    """Where no ids can be looked for, an audit proves nothing, and says so."""
    random_ids = random.Random(1)
    with pytest.raises(AuditError):
        Marks(lambda text: [random_ids.randrange(1 << 16) for _ in text])


def test_repr_and_errors_show_no_mark(marks) -> None:
    """Marks are content: what prints them is their number."""
    mark = marks.make("x")
    assert mark not in repr(marks)
    assert mark not in repr(mark)
