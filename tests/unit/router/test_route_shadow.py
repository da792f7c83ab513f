"""A shadow policy speaks in the record and nowhere else."""

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored_spans import root_span

from device_agent.traces import TraceStore, traces_path
from lanai.cli.mount import run
from lanai.errors import ConfigError, RouteError
from lanai.folders import Folders
from router import DataClass, Decision, Destination, Estimate, Mode, Reason, Router
from router.circumstances import Circumstances
from router.policy import Policy
from router.weighing import weigh

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def decided(router, facts, observation):
    routing = router.begin(facts)
    return routing.eligibility() or routing.prefill(observation)


def plain(decision):
    """Without the shadow's word and the time it took."""
    costless = tuple(replace(each, cost_us=0.0) for each in decision.signals)
    return replace(decision, shadow=None, decision_us=0.0, signals=costless)


@pytest.mark.parametrize("entropy", [0.5, 1.9, 2.5, 4.0])
@pytest.mark.parametrize("data_class", list(DataClass))
@pytest.mark.parametrize("consent", [None, True, False])
def test_a_shadow_changes_no_decision(
    make_facts, make_policy, make_estimator, seen, entropy, data_class, consent
):
    """Every field but the shadow's own is what it is without one."""
    facts = make_facts(data_class=data_class, consent=consent)
    other = make_policy(
        escalate_above_benefit=-1.0, consent_assumed_for=frozenset({DataClass.PERSONAL})
    )
    alone = decided(Router(make_policy(), make_estimator()), facts, seen(entropy))
    beside = decided(Router(make_policy(), make_estimator(), shadow=other), facts, seen(entropy))
    assert plain(beside) == plain(alone)
    assert alone.shadow is None
    assert beside.shadow.policy_digest == other.digest


@pytest.mark.parametrize("consent", [None, True])
@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("entropy", [0.5, 2.5])
def test_a_shadow_says_what_its_policy_alone_decides(
    make_facts, make_policy, make_estimator, seen, consent, mode, entropy
):
    """The same destination and reason, unless it lacks signals, which it then says."""
    facts = make_facts(mode=mode, consent=consent)
    other = make_policy(
        escalate_above_benefit=0.0, consent_assumed_for=frozenset({DataClass.PERSONAL})
    )
    first = make_policy(
        escalate_above_benefit=0.3, consent_assumed_for=frozenset(DataClass) - {"secret"}
    )
    shadow = decided(Router(first, make_estimator(), shadow=other), facts, seen(entropy)).shadow
    alone = decided(Router(other, make_estimator()), facts, seen(entropy))
    assert (shadow.destination, shadow.reason) == (alone.destination, alone.reason)


def test_a_shadow_never_sends_secret_data(make_facts, make_policy, make_estimator, seen):
    """Its own rules keep them, whatever it weighs."""
    eager = make_policy(escalate_above_benefit=-1.0)
    router = Router(make_policy(), make_estimator(), shadow=eager)
    shadow = decided(router, make_facts(data_class=DataClass.SECRET), seen(4.0)).shadow
    assert (shadow.destination, shadow.reason) == (Destination.DEVICE, Reason.DATA_SECRET)


def test_a_shadow_without_signals_says_so(make_facts, make_policy, make_estimator, seen):
    """Rules decided, and the shadow would have weighed: nothing is guessed."""
    router = Router(
        make_policy(),
        make_estimator(),
        shadow=make_policy(consent_assumed_for=frozenset({DataClass.PERSONAL})),
    )
    decision = decided(router, make_facts(consent=None), seen(1.0))
    assert decision.reason is Reason.NO_CONSENT
    assert (decision.shadow.destination, decision.shadow.reason) == (None, None)
    assert "were not measured" in decision.explain()


def test_a_shadow_may_leave_no_route(make_facts, make_policy, make_estimator, seen):
    """Where the first policy assumes consent and the device has no room."""
    router = Router(
        make_policy(consent_assumed_for=frozenset({DataClass.PERSONAL})),
        make_estimator(),
        shadow=make_policy(consent_assumed_for=frozenset()),
    )
    facts = make_facts(consent=None, input_tokens=600)
    decision = decided(router, facts, seen(1.0))
    assert decision.destination is Destination.CLOUD
    assert (decision.shadow.destination, decision.shadow.reason) == (None, Reason.NO_CONSENT)
    assert "no route" in decision.explain()


def test_a_fall_back_keeps_the_first_word(make_facts, make_policy, make_estimator, seen):
    """What the shadow said when the request was decided."""
    router = Router(make_policy(), make_estimator(), shadow=make_policy(escalate_above_benefit=0.5))
    routing = router.begin(make_facts())
    routing.eligibility()
    sent = routing.prefill(seen(3.0))
    fallen = routing.fall_back(Reason.CLOUD_FAILED, make_facts())
    assert fallen.shadow == sent.shadow
    assert fallen.shadow.reason is Reason.CONFIDENT


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    device=st.floats(0, 1), cloud=st.floats(0, 1), asked=st.floats(-1, 1), predictive=st.booleans()
)
def test_weighing_never_sends_without_the_benefit(make_estimator, device, cloud, asked, predictive):
    """The cloud is named only by a predictive estimate of more than the policy asks for."""
    policy = Policy(
        consent_assumed_for=frozenset(),
        escalate_above_benefit=asked,
        early_decode_tokens=0,
        early_decode_window=4,
        look_from_benefit=-1.0,
    )
    estimate = Estimate(device_good=device, cloud_good=cloud)
    seen = Circumstances(input_tokens=1, max_output_tokens=1)
    found = weigh(policy, make_estimator(predictive=predictive), estimate, seen)
    sent = predictive and device < cloud - asked
    assert (found.destination is Destination.CLOUD) == sent


def test_a_shadow_is_read_back_and_shown(
    make_facts, make_policy, make_estimator, seen, tmp_path, monkeypatch, capsys
):
    """Through the store, ``trace show`` and ``route explain`` name its policy and its word."""
    monkeypatch.setenv("LANAI_HOME", str(tmp_path))
    other = make_policy(escalate_above_benefit=0.5)
    decision = decided(
        Router(make_policy(), make_estimator(), shadow=other), make_facts(), seen(3.0)
    )
    stored = json.loads(json.dumps(decision.to_json_dict(), allow_nan=False))
    assert Decision.from_json_dict(stored) == decision
    store = TraceStore.open(traces_path(Folders.standard()))
    root = root_span(TRACE_ID)
    store.save([root], decision=stored)
    store.close()
    assert run(["trace", "show", TRACE_ID]) == 0
    assert f"shadow:   device: confident (policy {other.digest[:12]})" in capsys.readouterr().out
    assert run(["route", "explain", TRACE_ID]) == 0
    said = capsys.readouterr().out
    assert f"The shadow policy {other.digest[:12]} would have run it on the device" in said
    assert "Asked in mode auto with personal data, with consent." in said


def test_a_decision_from_before_shadows_is_read(make_facts, make_policy, make_estimator, seen):
    """Without ``asked`` and ``shadow``, as older traces are; what they hold stays strict."""
    decision = decided(Router(make_policy(), make_estimator()), make_facts(), seen(3.0))
    stored = decision.to_json_dict()
    old = {key: value for key, value in stored.items() if key not in {"asked", "shadow"}}
    assert Decision.from_json_dict(old) == replace(decision, asked=None)
    with pytest.raises(RouteError, match=r"asked\.prompt"):
        Decision.from_json_dict(stored | {"asked": stored["asked"] | {"prompt": "text"}})


def test_the_shadow_file_is_checked_like_the_first(tmp_path):
    """A broken one is a configuration error with its name."""
    (tmp_path / "shadow.toml").write_text("schema = 1\n")
    with pytest.raises(ConfigError, match=r"shadow\.toml"):
        Router.standard(shadow_policy_file=tmp_path / "shadow.toml")
