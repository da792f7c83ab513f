"""Words for people: why, what would have changed it, what to do.

Built from numbers and closed words: every sentence is a template of this file, and
nothing a user typed can reach one.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from router.facts import RequestFacts
from router.vocabulary import Destination, Reason, Stage

if TYPE_CHECKING:  # decisions explain themselves through this module
    from router.bounds import Claim
    from router.decision import Decision, RuleVerdict, SignalReading
    from router.recorded import Asked, Realized, Shadow
    from router.utility import Terms

__all__ = ["HINTS", "explain", "number", "rule_counterfactual", "weighed_counterfactual"]

REASONS: Final[Mapping[Reason, str]] = {
    Reason.MODE_ONLY_ON_DEVICE: "the mode allows the device only",
    Reason.MODE_ONLY_IN_CLOUD: "the mode allows the cloud only",
    Reason.MODE_PREFER_ON_DEVICE: "the mode prefers the device",
    Reason.MODE_PREFER_IN_CLOUD: "the mode prefers the cloud",
    Reason.DATA_SECRET: "the data are secret and never leave the device",
    Reason.NO_CONSENT: "there is no consent for the request to leave the device",
    Reason.OFFLINE: "the device has no network",
    Reason.DEVICE_CANNOT: "the device's runtime lacks what the request needs",
    Reason.CLOUD_CANNOT: "the cluster lacks what the request needs",
    Reason.CLOUD_NOT_CONFIGURED: "no cluster is enrolled",
    Reason.CLOUD_UNREACHABLE: "the cloud cannot be reached",
    Reason.CLOUD_NOT_VERIFIED: "no node of the cloud passed verification",
    Reason.NO_QUOTA: "no token is left to spend in the cloud",
    Reason.DEVICE_NOT_READY: "the device model is not ready",
    Reason.OVER_DEVICE_CONTEXT: "prompt and answer do not fit the device model's context",
    Reason.OVER_CLOUD_CONTEXT: "prompt and answer do not fit the cloud model's context",
    Reason.CONFIDENT: "the device model's own signals stayed above the threshold",
    Reason.LOW_CONFIDENCE: "the signals predict that the cloud would answer better",
    Reason.SESSION_ESCALATED: "this conversation is in the cloud already, and stays there",
    Reason.COST_OUTWEIGHED: "the cloud would answer better, but not by what it costs now",
    Reason.BUDGET_SPENT: "the cloud would be worth it, but the day's money is spent",
    Reason.ANSWER_INVALID: "the device's answer failed the request's own validators, unseen",
    Reason.EARLY_DECODE_TRIPPED: "the device's draft was uncertain or repeated itself",
    Reason.NO_ESTIMATOR: "no estimator was measured for this pair of models, so rules alone decide",
    Reason.NOT_PREDICTIVE: (
        "the signals were measured not to tell where the cloud is better for this pair of models"
    ),
    Reason.CLOUD_FAILED: "the cloud failed before its first byte",
    Reason.EXTERNAL_ASKED: "the app asked for the endpoint outside",
    Reason.EXTERNAL_LAST: "neither device nor cloud is left, and the app allows what is outside",
    Reason.EXTERNAL_NOT_CONFIGURED: "no endpoint outside is configured",
    Reason.EXTERNAL_NOT_PUBLIC: "the data are not public, and never leave for outside",
    Reason.EXTERNAL_CANNOT: "the endpoint outside is asked for plain text alone",
    Reason.EXTERNAL_FAILED: "the endpoint outside failed before its first byte",
}

HINTS: Final[Mapping[Reason, str]] = {
    Reason.MODE_ONLY_ON_DEVICE: "use another mode",
    Reason.MODE_ONLY_IN_CLOUD: "use another mode",
    Reason.DATA_SECRET: "secret data need the device: shorten the prompt or pull the device model",
    Reason.NO_CONSENT: "ask the user for consent, or shorten the prompt to fit the device",
    Reason.OFFLINE: "connect the device, or use a mode that allows the device",
    Reason.DEVICE_CANNOT: "use a mode that allows the cloud",
    Reason.CLOUD_CANNOT: "use a mode that allows the device",
    Reason.CLOUD_NOT_CONFIGURED: "start a cluster with `lanai cloud up --profile development`",
    Reason.CLOUD_UNREACHABLE: "see `lanai doctor`; `lanai cloud status` shows a local cluster",
    Reason.CLOUD_NOT_VERIFIED: "see `lanai attest show`; nothing is sent to an unverified node",
    Reason.NO_QUOTA: "wait for the issuer to give more tokens",
    Reason.DEVICE_NOT_READY: "see `lanai doctor`; `lanai models pull NAME` fetches a model",
    Reason.OVER_DEVICE_CONTEXT: "shorten the prompt, lower --max-tokens, or allow the cloud",
    Reason.OVER_CLOUD_CONTEXT: "shorten the prompt or lower --max-tokens",
}

_CONDITIONS: Final[Mapping[Reason, str]] = {
    Reason.MODE_ONLY_ON_DEVICE: "would consider the cloud in another mode",
    Reason.MODE_ONLY_IN_CLOUD: "would consider the device in another mode",
    Reason.MODE_PREFER_ON_DEVICE: "would go to the cloud only if the device could not answer",
    Reason.MODE_PREFER_IN_CLOUD: "would stay on the device only if the cloud could not answer",
    Reason.DATA_SECRET: "would stay on the device at any confidence, in any mode",
    Reason.NO_CONSENT: "would consider the cloud with the user's consent",
    Reason.OFFLINE: "would consider the cloud once there is a network",
    Reason.DEVICE_CANNOT: "would consider the device once its runtime has it",
    Reason.CLOUD_CANNOT: "would consider the cloud once it has it",
    Reason.SESSION_ESCALATED: "would be weighed anew in a conversation of its own",
    Reason.ANSWER_INVALID: "would have stayed on the device with an answer of the asked form",
    Reason.CLOUD_NOT_CONFIGURED: "would consider the cloud once a cluster is enrolled",
    Reason.CLOUD_UNREACHABLE: "would consider the cloud once it can be reached",
    Reason.CLOUD_NOT_VERIFIED: "would consider the cloud once one of its nodes is verified",
    Reason.NO_QUOTA: "would consider the cloud with a token to spend",
    Reason.DEVICE_NOT_READY: "would consider the device once its model is ready",
    Reason.NO_ESTIMATOR: "would weigh the cloud with an estimator measured for this pair of models",
    Reason.NOT_PREDICTIVE: "would stay on the device at any confidence",
    Reason.CLOUD_FAILED: "would have been answered in the cloud without the failure",
    Reason.EXTERNAL_ASKED: "would have stayed if the app had not asked for what is outside",
    Reason.EXTERNAL_LAST: "would have stayed if device or cloud could have answered",
    Reason.EXTERNAL_FAILED: "would have been answered outside without the failure",
}

_STAGES: Final[Mapping[Stage, str]] = {
    Stage.ELIGIBILITY: "before the model ran",
    Stage.PREFILL: "after the prompt was read",
    Stage.EARLY_DECODE: "after the first tokens of a draft",
    Stage.AFTER_ANSWER: "after the device's whole answer, before it was shown",
    Stage.FALLBACK: "after another place was tried",
}

_WHERE: Final[Mapping[Destination, str]] = {
    Destination.DEVICE: "on the device",
    Destination.CLOUD: "in the cloud",
    Destination.EXTERNAL: "outside, at an endpoint that nobody attested",
}


def number(value: float, other: float | None = None) -> str:
    """Two decimals; four where two would hide the difference to ``other``."""
    close = other is not None and round(value, 2) == round(other, 2)
    return f"{value:.4f}" if close else f"{value:.2f}"


def rule_counterfactual(reason: Reason, facts: RequestFacts) -> str:
    """What would have changed a decision that rules made."""
    wanted = facts.input_tokens + facts.max_output_tokens
    if reason is Reason.OVER_DEVICE_CONTEXT:
        return f"would fit the device with {wanted - facts.device.context_tokens} tokens fewer"
    if reason is Reason.OVER_CLOUD_CONTEXT:
        return f"would fit the cloud with {wanted - facts.cloud.context_tokens} tokens fewer"
    return _CONDITIONS[reason]


def weighed_counterfactual(
    reason: Reason, confidence: float, threshold: float, terms: "Terms"
) -> str:
    """What would have changed a decision made by confidence against a threshold."""
    limit = number(threshold, confidence)
    if reason is Reason.LOW_CONFIDENCE:
        return f"would have stayed on the device at confidence {limit} or above"
    if reason is Reason.BUDGET_SPENT:
        return "would go to the cloud once the budget has money for it again"
    if reason is Reason.COST_OUTWEIGHED:
        return f"would go to the cloud at a price below {number(terms.price)} right answers"
    if threshold <= 0:
        return "would stay on the device at any confidence: the cloud promises too little"
    return f"would go to the cloud at confidence below {limit}"


def explain(decision: "Decision") -> str:
    """Sentences, one a line: what, why, the rules, the signals, what would change it, the cost."""
    where = _WHERE[decision.destination]
    lines = [
        f"Runs {where}, decided {_STAGES[decision.stage]}: {REASONS[decision.reason]}.",
        *([_asked(decision.asked)] if decision.asked else []),
        *_confidence(decision),
        *([_price(decision.utility)] if decision.utility else []),
        *([_bound(decision.bound)] if decision.bound else []),
        _rules(decision.rules),
        *map(_signal, decision.signals),
        f"It {decision.counterfactual}.",
        *([_shadow(decision.shadow)] if decision.shadow else []),
        *([_realized(decision.realized)] if decision.realized else []),
        f"The router took {decision.decision_us:.0f} µs under policy {decision.policy_digest[:12]}"
        + (f", estimator {decision.estimator_digest[:12]}." if decision.estimator_digest else "."),
    ]
    return "\n".join(lines)


def _confidence(decision: "Decision") -> list[str]:
    if decision.confidence is None:
        return []
    said = f"Confidence that the device answers well: {number(decision.confidence)}"
    if decision.threshold is None:
        return [f"{said}; no threshold applies."]
    return [f"{said}; threshold: {number(decision.threshold, decision.confidence)}."]


def _asked(asked: "Asked") -> str:
    words = {None: "nobody asked for consent", True: "with consent", False: "consent refused"}
    said = f"Asked in mode {asked.mode} with {asked.data_class} data, {words[asked.consent]}."
    if not asked.found:
        return said
    return f"{said} A detector on the device found: {', '.join(asked.found)}."


def _price(terms: "Terms") -> str:
    named = {name: getattr(terms, name) for name in ("money", "latency", "energy", "quota")}
    costs = ", ".join(f"{name} {value:+.3f}" for name, value in named.items() if value)
    if not costs:
        return f"Asked of the cloud: {number(terms.price)} right answers more."
    return (
        f"Asked of the cloud: {number(terms.asked)} right answers more, and its costs "
        f"({costs}) at weight {terms.weight:.3g}: {number(terms.price, terms.asked)} in all."
    )


def _bound(claim: "Claim") -> str:
    if claim.alpha is None or claim.delta is None:
        return f"No bound of regret is claimed: {claim.refused}."
    of = f" among requests of the kind {claim.category}" if claim.category else ""
    return (
        f"Regret{of} is at most {claim.alpha:g} per request, with confidence {1 - claim.delta:g}."
    )


def _realized(realized: "Realized") -> str:
    ended = "was answered" if realized.outcome == "answered" else f"ended ({realized.outcome})"
    said = f"It {ended} after {realized.seconds:.2f} s"
    if realized.cloud_requests:
        said += f", {realized.cloud_requests} sealed calls ({realized.wasted_requests} wasted)"
    return said + (f", {realized.money:g} of money." if realized.money else ".")


def _shadow(shadow: "Shadow") -> str:
    said = f"The shadow policy {shadow.policy_digest[:12]}"
    if shadow.reason is None:
        return f"{said} would have looked at signals that were not measured."
    if shadow.destination is None:
        return f"{said} would have left no route: {REASONS[shadow.reason]}."
    where = _WHERE[shadow.destination]
    return f"{said} would have run it {where}: {REASONS[shadow.reason]}."


def _rules(verdicts: "tuple[RuleVerdict, ...]") -> str:
    removed = [
        f"{v.name} removed {_removed(v)} ({v.reason})" for v in verdicts if v.reason is not None
    ]
    if not removed:
        return f"All {len(verdicts)} rules allowed both."
    return f"Of {len(verdicts)} rules, {'; '.join(removed)}."


def _removed(verdict: "RuleVerdict") -> str:
    if verdict.allows_external is False:
        return "what is outside"
    return "the cloud" if verdict.allows_device else "the device"


def _signal(reading: "SignalReading") -> str:
    if reading.raw is None:
        return f"Signal {reading.name} was not measured; the confidence is averaged over it."
    alone = "" if reading.calibrated is None else f", alone worth {number(reading.calibrated)}"
    return f"Signal {reading.name}: {reading.raw:.3f}{alone} ({reading.cost_us:.0f} µs)."
