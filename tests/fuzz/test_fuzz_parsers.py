"""No bytes from the network bring out anything but a value or one of our own errors."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz_broken import TARGETS as BROKEN
from fuzz_mutations import MUTATIONS, spliced
from fuzz_target import Target, Unsound, accepts, judge, judge_memory
from fuzz_targets import CAPTURED, TARGETS
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

EXAMPLES = 30
NUMBERS = st.integers(0, 2**32 - 1)
CHANGES = st.lists(st.tuples(st.sampled_from(sorted(MUTATIONS)), NUMBERS, NUMBERS), max_size=4)
QUICK = settings(
    deadline=None,
    max_examples=EXAMPLES,
    # The memory of one example is what is measured, not the time tracemalloc takes for it.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


@pytest.fixture
def traced() -> Iterator[None]:
    """tracemalloc runs, one frame deep."""
    tracemalloc.start(1)
    yield
    tracemalloc.stop()


@each_target
def test_valid_inputs_are_accepted_and_come_back(target: Target) -> None:
    """What the builders make is parsed, and written back byte for byte."""
    seeds = target.seeds()
    assert seeds
    for seed in seeds:
        accepts(target, seed)


@each_target
@QUICK
@given(data=st.data())
def test_changed_valid_inputs(target: Target, traced: None, data: st.DataObject) -> None:
    """Flipped, cut, grown, doubled, with huge lengths: our error or a value, in bounded memory."""
    changed = data.draw(st.sampled_from(target.seeds()))
    for name, place, value in data.draw(CHANGES):
        changed = MUTATIONS[name](changed, place, value) if changed else changed
    judge_memory(target, changed)


@each_target
@QUICK
@given(noise=st.binary(max_size=300))
def test_noise(target: Target, noise: bytes) -> None:
    """Bytes without any meaning."""
    judge(target, noise)


@each_target
@settings(QUICK, max_examples=10)
@given(place=NUMBERS, value=NUMBERS)
def test_inputs_put_together_from_others(target: Target, place: int, value: int) -> None:
    """The head of one parser's valid input with the tail of another's."""
    other = TARGETS[place % len(TARGETS)]
    judge(target, spliced(target.seeds()[-1], other.seeds()[0], place, value))
    judge(target, other.seeds()[value % len(other.seeds())])


@pytest.mark.parametrize("target", BROKEN, ids=lambda target: target.name)
def test_a_broken_parser_is_found(target: Target, traced: None) -> None:
    """The properties have teeth: a foreign error, a believed length and a loose encoding show."""

    # Not shrunk: at the very limit of memory a measure is not the same twice.
    @settings(QUICK, max_examples=500, database=None, phases=[Phase.generate])
    @given(noise=st.binary(max_size=8))
    def search(noise: bytes) -> None:
        judge_memory(target, noise)

    with pytest.raises(Unsound):
        search()


def test_captured_evidence_is_among_them(data_folder: Path) -> None:
    """Every kind of hardware evidence is fuzzed from real samples."""
    assert data_folder.is_dir()
    assert set(CAPTURED) <= {target.name for target in TARGETS}


def test_names_are_unique() -> None:
    """A crash is reported by its target's name."""
    names = [target.name for target in TARGETS]
    assert len(set(names)) == len(names)
