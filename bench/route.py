"""Times whole decisions of the shipped router, without a model: the cost beyond the prefill.

    lanai bench route [--runs 20000] [--json]

p50 and p99 of each: ``decision_us`` as Decisions record it, ``wall_us`` around all calls,
``cpu_us`` of the thread, which other processes do not lengthen; the same with a draft of 16 tokens
shown one by one (``early_decode``), and with a ``shadow`` policy beside. ``preempted``: share of
decisions during which the system took the core away.
"""

import resource
import time
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from lanai.cli.output import emit_json, json_option
from router import (
    CloudFacts,
    DataClass,
    DecodeObservation,
    DeviceFacts,
    Mode,
    Policy,
    PrefillObservation,
    RequestFacts,
    Router,
    shipped_estimator,
)

__all__ = ["route"]

DRAFT_TOKENS = 16
VARIANTS = ("early_decode", "shadow")
CLOCKS = ("decision_us", "wall_us", "cpu_us")


@click.command()
@click.option("--runs", type=click.IntRange(1), default=20_000, show_default=True)
@json_option
def route(runs: int, as_json: bool) -> None:
    """The router's own time for one request, without any model: p50 and p99, microseconds."""
    found = _measured(runs)
    if as_json:
        emit_json(found)
        return
    heads = "".join(f"{name + ' p50':>14}{'p99':>9}" for name in ("decision", "wall", "cpu"))
    click.echo(f"{'µs':<14}{heads}   preempted")
    for name, row in (("prefill", found), *((each, found[each]) for each in VARIANTS)):
        cells = "".join(f"{row[key]['p50']:>14}{row[key]['p99']:>9}" for key in CLOCKS)
        click.echo(f"{name:<14}{cells}{row['preempted']:>11.1%}")


def _measured(runs: int) -> dict[str, Any]:
    """The prefill's figures on top, the variants below by name."""
    draft_policy = Policy.parse(
        'schema = "lanai.policy/1"\n[consent]\nassumed_for = ["public"]\n'
        "[prefill]\nescalate_above_benefit = 1.0\n"
        f"[early_decode]\ntokens = {DRAFT_TOKENS}\nwindow = 8\nlook_from_benefit = -1.0\n"
        "entropy_above = 20.0\n"
    )
    policy, estimator = Policy.load(), shipped_estimator()
    fewer = max(runs // 10, 1)
    return {
        "runs": runs,
        **_times(Router(policy, estimator), runs),
        "early_decode": _times(Router(draft_policy, estimator), fewer),
        "shadow": _times(Router(policy, estimator, shadow=draft_policy), fewer),
    }


def _times(router: Router, runs: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    probes = router.estimator.probes if router.estimator else ()
    width = len(probes[0].weights) if probes else 1
    state = random.normal(size=width).astype(np.float32)
    decided, wall, cpu, lost = (np.zeros(runs) for _ in range(4))
    for index in range(runs):
        seen = PrefillObservation(
            input_tokens=int(random.integers(5, 900)),
            entropy=float(random.random() * 6),
            margin=float(random.random()),
            top_probability=float(random.random()),
            hidden_state=state,
        )
        draft = random.random((2, DRAFT_TOKENS))
        ids = random.integers(0, 49152, DRAFT_TOKENS)
        switches, worked = _preemptions(), time.thread_time_ns()
        began = time.perf_counter_ns()
        decided[index] = _decide(router, seen, draft, ids)
        wall[index] = (time.perf_counter_ns() - began) / 1000
        cpu[index] = (time.thread_time_ns() - worked) / 1000
        lost[index] = _preemptions() > switches
    times = zip(CLOCKS, (decided, wall, cpu), strict=True)
    return {name: _quantiles(values) for name, values in times} | {"preempted": float(lost.mean())}


def _preemptions() -> int:
    """Times the system took the core from this thread so far."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


def _decide(
    router: Router,
    seen: PrefillObservation,
    draft: NDArray[np.float64],
    ids: NDArray[np.int64],
) -> float:
    run = router.begin(FACTS)
    decision = run.eligibility() or run.prefill(seen)
    shown = 0
    while decision is None:
        shown += 1
        decision = run.early_decode(
            DecodeObservation(ids=ids[:shown], entropy=draft[0, :shown], margin=draft[1, :shown])
        )
    return decision.decision_us


def _quantiles(values: NDArray[np.float64]) -> dict[str, float]:
    p50, p99 = np.quantile(values, [0.5, 0.99])
    return {"p50": round(float(p50), 1), "p99": round(float(p99), 1)}


FACTS = RequestFacts(
    mode=Mode.AUTO,
    data_class=DataClass.PERSONAL,
    consent=True,
    input_tokens=30,
    max_output_tokens=100,
    device=DeviceFacts(ready=True, context_tokens=2048, model="smollm2-135m-instruct"),
    cloud=CloudFacts(
        configured=True, reachable=True, verified_nodes=1, context_tokens=8192, model="gemma-3-270m"
    ),
)
