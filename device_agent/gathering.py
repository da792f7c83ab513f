"""What the router is told about one request, and what a dead end means to a person."""

from device_agent.enrolled import CloudState, EnrolledCloud
from device_agent.runtime import Ask, Runtime
from lanai.content import TokenIds
from lanai.errors import ContextOverflow, LanaiError, NoRoute
from router import DeviceFacts, Mode, Reason, RequestFacts

__all__ = ["explain_no_route", "gather"]

# Only when the device model cannot count: the node has the last word on what fits its context.
BYTES_PER_TOKEN = 4


async def gather(
    runtime: Runtime, ask: Ask, ids: TokenIds | None
) -> tuple[RequestFacts, CloudState]:
    """The facts. A request that may not leave touches no network, not even for a status."""
    state = await runtime.cloud.state() if ask.may_leave else runtime.cloud.unasked
    facts = RequestFacts(
        mode=ask.mode,
        data_class=ask.data_class,
        consent=ask.consent,
        input_tokens=_guess_tokens(ask) if ids is None else len(ids),
        max_output_tokens=ask.max_tokens,
        device=_device(runtime, ready=ids is not None),
        cloud=state.facts,
    )
    return facts, state


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
    )


def _guess_tokens(ask: Ask) -> int:
    return sum(len(message.text.encode()) for message in ask.messages) // BYTES_PER_TOKEN + 1
