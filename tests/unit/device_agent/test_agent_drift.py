"""The drift monitor in an agent's life: requests fill its window, and a bound is refused by it."""

import json
from dataclasses import replace

import pytest

from device_agent.remembering import Memory
from router import Router
from router.bounds import Bounds, NoBound
from router.drift import WINDOW
from router.experience import Experience, Watch
from router.guarantee import KeepBound

BOUND = KeepBound(
    alpha=0.1,
    delta=0.1,
    threshold=-0.5,
    kept=0.9,
    losses=1,
    questions=200,
    ahead=200,
    regret_bound=0.09,
)


@pytest.fixture
def watched(drafting_router) -> Router:
    """Every request scores 0.38, far from all that were measured."""
    estimator = replace(
        drafting_router.estimator,
        bounds=Bounds(overall=(BOUND,)),
        reference=tuple(-1 + place / 100 for place in range(100)),
        digest="e" * 64,
    )
    return Router(drafting_router.policy, estimator)


async def test_requests_that_drifted_refuse_the_bound(
    make_bench, scripted, watched, tmp_path
) -> None:
    """The window's last request raises the alarm; the next one claims nothing, and says why."""
    path = tmp_path / "routing.json"
    before = Watch(estimator="e" * 64, recent=(0.38,) * (WINDOW - 1))
    path.write_text(json.dumps(Experience(watch=before).to_json_dict()))
    bench = make_bench(cloud=scripted.Cloud(), router=watched)
    bench.agent._runtime = replace(bench.agent._runtime, memory=Memory(path))
    async with bench.agent as agent:
        first = await agent.session().respond("hello")
        second = await agent.session().respond("hello")
        stored = bench.store.decision(second.trace_id)
    assert (first.decision.bound.refused, first.decision.bound.alpha) == (None, BOUND.alpha)
    assert second.decision.bound.refused is NoBound.DRIFTED
    assert "no longer like those it was calibrated on" in second.decision.explain()
    assert stored["circumstances"]["drifted"] is True
    kept = Experience.read(json.loads(path.read_text())).watch
    assert (kept.windows, kept.alarms, len(kept.recent)) == (1, 1, 1)
