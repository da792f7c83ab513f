"""Times whole decisions of the shipped router, without a model: the cost beyond the prefill.

    python bench/router_decision.py [--runs 20000]

Prints JSON, p50 and p99 each: ``decision_us`` as Decisions record it, ``wall_us`` around all calls.
"""

import json
import time

import click
import numpy as np

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

DRAFT_TOKENS = 16


@click.command()
@click.option("--runs", default=20_000, show_default=True)
def main(runs: int) -> None:
    """Time auto decisions at prefill, and with a draft of 16 tokens shown one by one."""
    draft_policy = Policy.parse(
        'schema = "lanai.policy/1"\n[consent]\nassumed_for = ["public"]\n'
        "[prefill]\nescalate_above_benefit = 1.0\n"
        f"[early_decode]\ntokens = {DRAFT_TOKENS}\nwindow = 8\nlook_from_benefit = -1.0\n"
        "entropy_above = 20.0\n"
    )
    prefill = Router(Policy.load(), shipped_estimator())
    drafting = Router(draft_policy, shipped_estimator())
    result = {
        "prefill": _times(prefill, runs),
        "early_decode": _times(drafting, max(runs // 10, 1)),
    }
    click.echo(json.dumps(result, indent=1))


def _times(router: Router, runs: int) -> dict[str, dict[str, float]]:
    random = np.random.default_rng(0)
    decided, wall = np.zeros(runs), np.zeros(runs)
    for index in range(runs):
        seen = PrefillObservation(
            input_tokens=int(random.integers(5, 900)),
            entropy=float(random.random() * 6),
            margin=float(random.random()),
            top_probability=float(random.random()),
        )
        draft = random.random((2, DRAFT_TOKENS))
        ids = random.integers(0, 49152, DRAFT_TOKENS)
        began = time.perf_counter_ns()
        decided[index] = _decide(router, seen, draft, ids)
        wall[index] = (time.perf_counter_ns() - began) / 1000
    return {"decision_us": _quantiles(decided), "wall_us": _quantiles(wall)}


def _decide(router: Router, seen: PrefillObservation, draft: np.ndarray, ids: np.ndarray) -> float:
    run = router.begin(FACTS)
    decision = run.eligibility() or run.prefill(seen)
    shown = 0
    while decision is None:
        shown += 1
        decision = run.early_decode(
            DecodeObservation(ids=ids[:shown], entropy=draft[0, :shown], margin=draft[1, :shown])
        )
    return decision.decision_us


def _quantiles(values: np.ndarray) -> dict[str, float]:
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

if __name__ == "__main__":
    main()
