"""Stage 0: which rule removes what, and which reason is told."""

import pytest

from lanai.errors import NoRoute
from router import DataClass, Destination, Mode, Reason, Router, Stage

CLOUD_LOST = [
    ({"configured": False, "reachable": False, "verified_nodes": 0}, Reason.CLOUD_NOT_CONFIGURED),
    ({"reachable": False, "verified_nodes": 0}, Reason.CLOUD_UNREACHABLE),
    ({"verified_nodes": 0, "context_tokens": 0}, Reason.CLOUD_NOT_VERIFIED),
    ({"tokens_left": False}, Reason.NO_QUOTA),
    ({"context_tokens": 149}, Reason.OVER_CLOUD_CONTEXT),
]


@pytest.mark.parametrize(("cloud", "reason"), CLOUD_LOST)
@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.PREFER_IN_CLOUD])
def test_the_device_answers_when_the_cloud_is_gone_and_says_why(
    make_facts, make_policy, cloud, reason, mode
):
    """A wanted cloud that is gone leaves the device, with the missing piece as the reason."""
    decision = Router(make_policy()).begin(make_facts(mode=mode, cloud=cloud)).eligibility()
    assert (decision.destination, decision.reason) == (Destination.DEVICE, reason)
    assert decision.stage is Stage.ELIGIBILITY
    assert decision.confidence is None
    assert decision.threshold is None


@pytest.mark.parametrize(("cloud", "reason"), CLOUD_LOST)
def test_only_in_cloud_without_a_cloud_has_no_route(make_facts, make_policy, cloud, reason):
    """The device is no substitute where the mode forbids it; the error has reason and hint."""
    facts = make_facts(mode=Mode.ONLY_IN_CLOUD, cloud=cloud)
    with pytest.raises(NoRoute) as caught:
        Router(make_policy()).begin(facts).eligibility()
    assert caught.value.reason == reason.value
    assert caught.value.hint


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ({"ready": False, "context_tokens": 0}, Reason.DEVICE_NOT_READY),
        ({"context_tokens": 149}, Reason.OVER_DEVICE_CONTEXT),
    ],
)
@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.PREFER_ON_DEVICE])
def test_the_cloud_answers_when_the_device_cannot(make_facts, make_policy, device, reason, mode):
    """prefer_on_device falls over to the cloud, but only when the device cannot answer."""
    decision = Router(make_policy()).begin(make_facts(mode=mode, device=device)).eligibility()
    assert (decision.destination, decision.reason) == (Destination.CLOUD, reason)


def test_only_on_device_without_a_device_names_the_device(make_facts, make_policy):
    """The error of a mode that allows one side is about that side."""
    facts = make_facts(mode=Mode.ONLY_ON_DEVICE, device={"context_tokens": 149})
    with pytest.raises(NoRoute) as caught:
        Router(make_policy()).begin(facts).eligibility()
    assert caught.value.reason == Reason.OVER_DEVICE_CONTEXT.value


@pytest.mark.parametrize(
    ("mode", "destination", "reason"),
    [
        (Mode.ONLY_ON_DEVICE, Destination.DEVICE, Reason.MODE_ONLY_ON_DEVICE),
        (Mode.ONLY_IN_CLOUD, Destination.CLOUD, Reason.MODE_ONLY_IN_CLOUD),
        (Mode.PREFER_ON_DEVICE, Destination.DEVICE, Reason.MODE_PREFER_ON_DEVICE),
        (Mode.PREFER_IN_CLOUD, Destination.CLOUD, Reason.MODE_PREFER_IN_CLOUD),
    ],
)
def test_a_mode_decides_when_both_are_left(
    make_facts, make_policy, make_estimator, mode, destination, reason
):
    """Only auto goes on to the stages that look at the model."""
    run = Router(make_policy(), make_estimator()).begin(make_facts(mode=mode))
    decision = run.eligibility()
    assert (decision.destination, decision.reason) == (destination, reason)
    assert run.needs.statistics is False


def test_a_prompt_that_just_fits_stays(make_facts, make_policy):
    """Prompt and answer together may fill the context exactly."""
    facts = make_facts(device={"context_tokens": 150}, mode=Mode.ONLY_ON_DEVICE)
    assert Router(make_policy()).begin(facts).eligibility().destination is Destination.DEVICE


@pytest.mark.parametrize(
    ("consent", "data_class", "allowed"),
    [
        (None, DataClass.PUBLIC, True),
        (None, DataClass.PERSONAL, False),
        (False, DataClass.PUBLIC, False),
        (True, DataClass.PERSONAL, True),
        (True, DataClass.SECRET, False),
    ],
)
def test_consent_is_assumed_only_where_nobody_was_asked(
    make_facts, make_policy, consent, data_class, allowed
):
    """A user's no is final, the policy fills only silence, and secret data stay anyway."""
    facts = make_facts(mode=Mode.PREFER_IN_CLOUD, consent=consent, data_class=data_class)
    decision = Router(make_policy()).begin(facts).eligibility()
    assert (decision.destination is Destination.CLOUD) is allowed


def test_every_rule_gives_its_verdict(make_facts, make_policy):
    """The record holds all rules by name, also those after the one that settled it."""
    facts = make_facts(mode=Mode.ONLY_ON_DEVICE, consent=False, cloud={"tokens_left": False})
    rules = {v.name: v for v in Router(make_policy()).begin(facts).eligibility().rules}
    assert len(rules) == 13
    assert [name for name, v in rules.items() if v.reason] == ["mode", "consent", "quota"]
    assert rules["data_class"].allows_cloud
