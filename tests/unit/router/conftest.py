"""Facts, observations and estimators that the router's tests start from."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from router import (
    CloudFacts,
    DataClass,
    DecodeObservation,
    DeviceFacts,
    LogisticEstimator,
    MeasuredModel,
    MeasuredPair,
    Mode,
    Policy,
    PrefillObservation,
    RequestFacts,
)
from router.heads import Head, Term

DEVICE_SHA, CLOUD_SHA = "d" * 64, "c" * 64

FactsFactory = Callable[..., RequestFacts]


@pytest.fixture
def make_facts() -> FactsFactory:
    """Facts under which both sides are left; ``device`` and ``cloud`` take changed fields."""
    return facts_with


def facts_with(
    device: dict[str, Any] | None = None, cloud: dict[str, Any] | None = None, **changes: Any
) -> RequestFacts:
    both = RequestFacts(
        mode=Mode.AUTO,
        data_class=DataClass.PERSONAL,
        consent=True,
        input_tokens=100,
        max_output_tokens=50,
        device=DeviceFacts(ready=True, context_tokens=512, model="small"),
        cloud=CloudFacts(
            configured=True,
            reachable=True,
            verified_nodes=2,
            tokens_left=True,
            context_tokens=1024,
            model="large",
        ),
    )
    return replace(
        both,
        device=replace(both.device, **(device or {})),
        cloud=replace(both.cloud, **(cloud or {})),
        **changes,
    )


@pytest.fixture
def make_policy() -> Callable[..., Policy]:
    def policy(**changes: Any) -> Policy:
        plain = Policy(
            consent_assumed_for=frozenset({DataClass.PUBLIC}),
            escalate_above_benefit=0.1,
            early_decode_tokens=0,
            early_decode_window=4,
            look_from_benefit=-1.0,
        )
        return replace(plain, **changes)

    return policy


@pytest.fixture
def make_estimator() -> Callable[..., LogisticEstimator]:
    """Confidence falls with the first token's entropy (0.5 at 2 nats); the cloud has 0.6."""

    def estimator(**changes: Any) -> LogisticEstimator:
        entropy = Term(signal="first_token_entropy", mean=2.0, scale=1.0, weight=-1.0)
        plain = LogisticEstimator(
            pair=MeasuredPair(
                device=MeasuredModel(names=("small",), weights_sha256=DEVICE_SHA),
                cloud=MeasuredModel(names=("large",), weights_sha256=CLOUD_SHA),
            ),
            predictive=True,
            device_head=Head(bias=0.0, terms=(entropy,)),
            cloud_head=Head(bias=float(np.log(0.6 / 0.4)), terms=()),
            alone={"first_token_entropy": Head(bias=0.0, terms=(entropy,))},
            measurement={},
            digest="e" * 64,
        )
        return replace(plain, **changes)

    return estimator


@pytest.fixture
def seen() -> Callable[[float], PrefillObservation]:
    """A prefill observation of the given first-token entropy."""

    def observation(entropy: float) -> PrefillObservation:
        return PrefillObservation(
            input_tokens=100, entropy=entropy, margin=0.2, top_probability=0.5
        )

    return observation


@pytest.fixture
def drafted() -> Callable[..., DecodeObservation]:
    """A draft of tokens with one entropy and margin throughout."""

    def observation(
        tokens: int, *, entropy: float = 1.0, margin: float = 0.5, finished: bool = False
    ) -> DecodeObservation:
        return DecodeObservation(
            ids=np.arange(tokens, dtype=np.int64),
            entropy=np.full(tokens, entropy),
            margin=np.full(tokens, margin),
            finished=finished,
        )

    return observation
