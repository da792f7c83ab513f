"""The router's experience outlives processes; losing it never costs an answer."""

import json
from dataclasses import replace

import pytest

from device_agent.remembering import Memory
from router import CloudFacts, DataClass, DeviceFacts, Mode, RequestFacts, Router
from router.policy import Policy
from router.policy_parts import Budget, Costs
from router.recorded import Realized

POLICY = replace(
    Policy.load(None),
    costs=Costs(money_per_request=1.0),
    budget=Budget(money_per_day=10.0),
)


@pytest.fixture
def router() -> Router:
    return Router(POLICY)


@pytest.fixture
def decision(router):
    """A request that was sent and answered for 4 of money."""
    facts = RequestFacts(
        mode=Mode.ONLY_IN_CLOUD,
        data_class=DataClass.PUBLIC,
        consent=True,
        input_tokens=1,
        max_output_tokens=1,
        device=DeviceFacts(ready=True, context_tokens=9, model="small"),
        cloud=CloudFacts(configured=True, reachable=True, verified_nodes=1, context_tokens=9),
    )
    done = Realized(outcome="answered", seconds=2.0, cloud_requests=1, money=4.0)
    return router.begin(facts).eligibility().ended("ab" * 16, done)


def test_another_process_goes_on_where_this_one_was(tmp_path, router, decision) -> None:
    """λ and purse are in the file; both processes' requests count."""
    path, now = tmp_path / "state" / "routing.json", [1e9]
    one, two = (Memory(path, clock_s=lambda: now[0]) for _ in range(2))
    one.note(decision, router)
    two.note(decision, router)
    assert two.experience.requests == 2
    assert two.standing(router).money_left == pytest.approx(2.0)
    assert Memory(path, clock_s=lambda: now[0]).standing(router) == two.standing(router)
    assert path.stat().st_mode & 0o077 == 0
    assert sorted(each.name for each in path.parent.iterdir()) == [path.name, f"{path.name}.lock"]


def test_a_clock_set_back_gives_no_money(tmp_path, router, decision) -> None:
    """And is counted in the file."""
    path, now = tmp_path / "routing.json", [1e9]
    memory = Memory(path, clock_s=lambda: now[0])
    memory.note(decision, router)
    now[0] = 1e6
    memory.note(decision, router)
    assert memory.standing(router).money_left == pytest.approx(2.0)
    assert memory.experience.pace.jumps == 1


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"schema": "lanai.experience/9"}']
)
def test_a_damaged_file_is_begun_anew_and_counted(
    tmp_path, router, decision, content, caplog
) -> None:
    """Said once in the log, by the error's name."""
    path = tmp_path / "routing.json"
    path.write_bytes(content)
    memory = Memory(path)
    assert memory.lost == 1
    memory.note(decision, router)
    assert json.loads(path.read_text())["requests"] == 1
    assert len(caplog.records) == 1


def test_a_file_that_cannot_be_written_is_counted(tmp_path, router, decision) -> None:
    """As where the disk is full: the next request starts from what this process knows."""
    (tmp_path / "taken").write_text("a file, not a folder")
    memory = Memory(tmp_path / "taken" / "routing.json")
    lost = memory.lost
    memory.note(decision, router)
    assert memory.lost == lost + 1


def test_without_a_path_it_lasts_as_long_as_the_process(router, decision) -> None:
    """For tests and embedders."""
    memory = Memory()
    memory.note(decision, router)
    assert memory.experience.requests == 1
