"""Words for people: why, what would have changed it, what to do.

Built from numbers and the phrases of `router.words`: every sentence is a template of this file, and
nothing a user typed can reach one.
"""

from typing import TYPE_CHECKING

from router.facts import RequestFacts
from router.vocabulary import Destination, Reason, Stage
from router.words import CONDITIONS, HINTS, NO_BOUND, REASONS, STAGES, WHERE

if TYPE_CHECKING:  # decisions explain themselves through this module
    from router.bounds import Claim
    from router.decision import Decision, RuleVerdict, SignalReading
    from router.recorded import Asked, Graded, Realized, Shadow
    from router.refusal import Refusal
    from router.utility import Terms

__all__ = ["explain", "explain_refusal", "number", "rule_counterfactual", "weighed_counterfactual"]


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
    return CONDITIONS[reason]


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
    where = WHERE[decision.destination]
    lines = [
        f"Runs {where}, decided {STAGES[decision.stage]}: {REASONS[decision.reason]}.",
        *([_asked(decision.asked)] if decision.asked else []),
        *_confidence(decision),
        *([_price(decision.utility)] if decision.utility else []),
        *([_bound(decision.bound)] if decision.bound else []),
        _rules(decision.rules),
        *map(_signal, decision.signals),
        f"It {decision.counterfactual}.",
        *([_shadow(decision.shadow)] if decision.shadow else []),
        *([_realized(decision.realized)] if decision.realized else []),
        *([_graded(decision.graded)] if decision.graded else []),
        f"The router took {decision.decision_us:.0f} µs under policy {decision.policy_digest[:12]}"
        + (f", estimator {decision.estimator_digest[:12]}." if decision.estimator_digest else "."),
    ]
    return "\n".join(lines)


def explain_refusal(refusal: "Refusal") -> str:
    """Sentences, one a line: that it ran nowhere, why neither side, the rules, what to do."""
    device, cloud = (refusal.why_not(each) for each in (Destination.DEVICE, Destination.CLOUD))
    sides = (("device", device), ("cloud", cloud))
    lines = [
        f"Ran nowhere, decided {STAGES[Stage.ELIGIBILITY]}: the rules left no place.",
        _asked(refusal.asked),
        *(f"Not the {side}: {REASONS[reason]}." for side, reason in sides if reason),
        _rules(refusal.rules),
        *([f"To do: {HINTS[refusal.reason]}."] if refusal.reason in HINTS else []),
        f"The router took {refusal.decision_us:.0f} µs under policy {refusal.policy_digest[:12]}.",
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
        why = NO_BOUND[claim.refused] if claim.refused else "nobody recorded why"
        return f"No bound of regret is claimed: {why}."
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


def _graded(graded: "Graded") -> str:
    words = {None: "is not known", True: "was found right", False: "was found wrong"}
    return (
        f"Afterwards the device's answer {words[graded.device_good]}, "
        f"the cloud's {words[graded.cloud_good]}."
    )


def _shadow(shadow: "Shadow") -> str:
    said = f"The shadow policy {shadow.policy_digest[:12]}"
    if shadow.reason is None:
        return f"{said} would have looked at signals that were not measured."
    if shadow.destination is None:
        return f"{said} would have left no route: {REASONS[shadow.reason]}."
    where = WHERE[shadow.destination]
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
