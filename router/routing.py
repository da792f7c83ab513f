"""The router: rules and policy, and an estimator where one was measured."""

import time
from pathlib import Path

from router.estimator import Estimator
from router.facts import RequestFacts
from router.logistic import LogisticEstimator, shipped_estimator
from router.policy import Policy
from router.rules import rules_of
from router.run import RoutingRun
from router.signals import draft_signals
from router.stopwatch import Clock
from router.weighing import ShadowPolicy

__all__ = ["Router"]


class Router:
    """Begins runs; holds no request's state, so one serves every request of an agent."""

    def __init__(
        self,
        policy: Policy,
        estimator: Estimator | None = None,
        *,
        shadow: Policy | None = None,
        clock: Clock = time.perf_counter_ns,
    ) -> None:
        self.policy = policy
        self.estimator = estimator
        self.shadow = ShadowPolicy(shadow) if shadow else None
        self.rules = rules_of(policy)
        self.draft_signals = draft_signals(policy)
        self.clock = clock

    @classmethod
    def standard(
        cls,
        policy_file: Path | None = None,
        estimator_file: Path | None = None,
        *,
        shadow_policy_file: Path | None = None,
    ) -> "Router":
        """Policy and estimator of the files, or the shipped ones. Raises ``ConfigError``.

        The policy of ``shadow_policy_file`` is asked beside the first, recorded, and never acts.
        """
        shadow = Policy.load(shadow_policy_file) if shadow_policy_file else None
        estimator = (
            LogisticEstimator.load(estimator_file) if estimator_file else shipped_estimator()
        )
        return cls(Policy.load(policy_file), estimator, shadow=shadow)

    def begin(self, facts: RequestFacts) -> RoutingRun:
        """One request's run: call its ``eligibility`` first."""
        return RoutingRun(self, facts)
