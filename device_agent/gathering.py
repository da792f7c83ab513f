"""What the router is told about one request, and what a dead end means to a person."""

import asyncio

from device_agent.enrolled import CloudState, EnrolledCloud
from device_agent.runtime import Ask, Runtime
from device_agent.sensitive import Noticed
from lanai.content import TokenIds
from lanai.errors import ContextOverflow, LanaiError, NoRoute
from router import DataClass, DeviceFacts, Mode, Reason, RequestFacts
from router.vocabulary import Capability

__all__ = ["explain_no_route", "gather", "notice"]

# Only when the device model cannot count: the node has the last word on what fits its context.
BYTES_PER_TOKEN = 4


async def gather(
    runtime: Runtime, ask: Ask, ids: TokenIds | None, noticed: Noticed
) -> tuple[RequestFacts, CloudState]:
    """The facts. A request that may not leave touches no network, not even for a status."""
    raised = runtime.router.policy.raised.raised(ask.data_class, noticed.found)
    may_leave = ask.may_leave and raised is not DataClass.SECRET
    state = await runtime.cloud.state() if may_leave else runtime.cloud.unasked
    facts = RequestFacts(
        mode=ask.mode,
        data_class=ask.data_class,
        consent=ask.consent,
        input_tokens=_guess_tokens(ask) if ids is None else len(ids),
        max_output_tokens=ask.max_tokens,
        device=_device(runtime, ready=ids is not None),
        cloud=state.facts,
        found=noticed.found,
        detector_us=noticed.us,
        category=ask.category,
        history_tokens=_guess_history(ask),
        session_on=ask.session_on,
        standing=runtime.memory.standing(runtime.router),
        unseen=ask.unseen,
        external=ask.external,
        external_configured=runtime.external is not None,
        needs=_needs(ask),
    )
    return facts, state


def _needs(ask: Ask) -> frozenset[Capability]:
    wanted = {
        Capability.OUTPUT_FORM: ask.form is not None,
        Capability.TOOLS: bool(ask.tools),
        Capability.ADAPTER: ask.options.adapter is not None,
    }
    return frozenset(capability for capability, needed in wanted.items() if needed)


async def notice(runtime: Runtime, ask: Ask) -> Noticed:
    """Only where the policy raises anything by it, and only what could still leave."""
    detector = runtime.detector
    if detector is None or not runtime.router.policy.raised.by or not ask.may_leave:
        return Noticed(found=(), us=None)
    return await asyncio.to_thread(detector.notice, [each.text for each in ask.messages])


def explain_no_route(
    error: NoRoute, facts: RequestFacts, cloud: EnrolledCloud, state: CloudState
) -> LanaiError:
    """The error that says most: a rejected cloud, a prompt too long, or the rules' own words."""
    if facts.mode is Mode.ONLY_IN_CLOUD:
        return cloud.rejection(state) if error.reason == Reason.CLOUD_NOT_VERIFIED else error
    limit, used = facts.device.context_tokens, facts.input_tokens + facts.max_output_tokens
    if not facts.device.ready or used <= limit:
        return error
    return ContextOverflow(
        f"the prompt ({facts.input_tokens} tokens) and room for {facts.max_output_tokens} more "
        f"do not fit the device's context of {limit}; {_why_not_in_cloud(error, facts)}",
        limit=limit,
        used=used,
        hint="shorten the prompt, lower max_tokens, or let the cloud answer (mode auto)",
    )


def _why_not_in_cloud(error: NoRoute, facts: RequestFacts) -> str:
    if facts.mode is Mode.ONLY_ON_DEVICE:
        return "the mode allows no cloud"
    return f"the cloud is ruled out ({error.reason})"


def _device(runtime: Runtime, *, ready: bool) -> DeviceFacts:
    model = runtime.device.model if ready else None
    return DeviceFacts(
        ready=ready,
        context_tokens=runtime.device.context_tokens,
        model=model.name if model else "",
        weights_sha256=model.weights_sha256 if model else None,
        state=runtime.surroundings.state(),
    )


def _guess_tokens(ask: Ask) -> int:
    return sum(len(message.text.encode()) for message in ask.messages) // BYTES_PER_TOKEN + 1


def _guess_history(ask: Ask) -> int:
    """All but what was said last: what a side that did not answer before would read anew."""
    return sum(len(message.text.encode()) for message in ask.messages[:-1]) // BYTES_PER_TOKEN
