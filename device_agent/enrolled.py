"""The enrolled cloud as the router and people see it, asked at most every few seconds."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from device_agent.availability import CloudPart, PartState
from device_agent.cloud_seam import Cloud, CloudStatus
from lanai.errors import CloudUnavailable, EvidenceRejected, LanaiError, Rejection, TrustError
from router.facts import CloudFacts
from router.vocabulary import Capability

__all__ = ["CloudState", "EnrolledCloud"]

REMEMBER_S = 10.0
NOT_ENROLLED = PartState(
    ready=False, reason="no cloud is enrolled", hint="`lanai cloud up` starts one on this machine"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudState:
    """One look at the cloud: for the router, and for a person."""

    facts: CloudFacts
    part: PartState


class EnrolledCloud:
    """A cluster, none, or one whose enrolment cannot be used (``refused`` says why)."""

    def __init__(
        self,
        client: Cloud | None,
        *,
        refused: LanaiError | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._refused = refused
        self._clock = clock
        self._lock = asyncio.Lock()
        self._seen: tuple[float, CloudState] | None = None

    @property
    def unasked(self) -> CloudState:
        """For requests that must not leave: what was seen last, or only whether one is enrolled.

        Touches no network.
        """
        if self._seen is not None:
            return self._seen[1]
        configured = self._client is not None or self._refused is not None
        return CloudState(facts=CloudFacts(configured=configured), part=NOT_ENROLLED)

    @property
    def client(self) -> Cloud:
        """Raises what refused the enrolment, or ``CloudUnavailable`` when nothing is enrolled."""
        if self._refused is not None:
            raise self._refused
        if self._client is None:
            raise CloudUnavailable(NOT_ENROLLED.reason, hint=NOT_ENROLLED.hint)
        return self._client

    async def state(self) -> CloudState:
        """A few seconds old at most. Never raises."""
        async with self._lock:
            if self._seen is None or self._clock() - self._seen[0] > REMEMBER_S:
                self._seen = (self._clock(), await self._ask())
            return self._seen[1]

    def forget(self) -> None:
        """Ask again next time: something just failed."""
        self._seen = None

    def rejection(self, state: CloudState) -> LanaiError:
        """Why no node may be used, as the error that a request without alternative raises."""
        if self._refused is not None:
            return self._refused
        words = (word for word in Rejection if word.value in state.part.reason.split())
        return EvidenceRejected(
            f"no node was accepted ({state.part.reason}); nothing was sent",
            reason=next(words, Rejection.KIND_NOT_ACCEPTED),
            hint=state.part.hint or "`lanai available` says more; the operator can tell why",
        )

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _ask(self) -> CloudState:
        if self._refused is not None:
            return _refused(self._refused)
        if self._client is None:
            return self.unasked
        try:
            return _seen(await self._client.status())
        except LanaiError as error:
            part = PartState(ready=False, reason=error.message, hint=error.hint)
            return CloudState(facts=CloudFacts(configured=True), part=part)


def _refused(error: LanaiError) -> CloudState:
    """A refused trust root is a cloud that cannot be verified; other faults, one out of reach."""
    facts = CloudFacts(configured=True, reachable=isinstance(error, TrustError))
    part = PartState(ready=False, reason=error.message, hint=error.hint)
    return CloudState(facts=facts, part=part)


def _seen(status: CloudStatus) -> CloudState:
    tokens_left = status.tokens_left is None or bool(status.tokens_left)
    facts = CloudFacts(
        configured=status.configured,
        reachable=status.reachable,
        verified_nodes=status.verified_nodes,
        tokens_left=tokens_left,
        context_tokens=status.context_tokens or 0,
        model=status.model,
        folder_sha256=status.weights,
        can=frozenset(Capability) - {Capability.ADAPTER},  # a node knows nothing of the device's
    )
    ready = status.configured and status.reachable and status.verified_nodes > 0 and tokens_left
    part = CloudPart(
        ready=ready,
        reason=status.reason,
        hint=status.hint,
        verified_nodes=status.verified_nodes,
        most_nodes=status.most_nodes,
        tokens_left=status.tokens_left,
        tokens_lost=status.tokens_lost,
    )
    return CloudState(facts=facts, part=part)
