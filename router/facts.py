"""What the router is told. Built by the device agent; nothing here is content."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from router.circumstances import Circumstances, DeviceState, Standing
from router.vocabulary import Capability, DataClass, Destination, External, Finding, Mode

__all__ = [
    "AnswerObservation",
    "CloudFacts",
    "DecodeObservation",
    "DeviceFacts",
    "PrefillObservation",
    "RequestFacts",
]


EVERYTHING = frozenset(Capability)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    ready: bool
    context_tokens: int
    """Prompt and answer together."""
    model: str
    """Catalog name, for the estimator to match."""
    weights_sha256: str | None = None
    """Hex; where known, the estimator matches by it instead of the name."""
    can: frozenset[Capability] = EVERYTHING
    state: DeviceState = field(default_factory=DeviceState)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudFacts:
    configured: bool
    reachable: bool = False
    verified_nodes: int = 0
    tokens_left: bool = True
    """A token is in the wallet, or the issuer may give one."""
    quota: int | None = None
    """Tokens in the wallet, where that is known."""
    context_tokens: int = 0
    model: str | None = None
    weights_sha256: str | None = None
    folder_sha256: str | None = None
    """Of the whole model folder, as verified releases name it."""
    can: frozenset[Capability] = EVERYTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    mode: Mode
    data_class: DataClass
    """As the app said. What ``found`` raises it to, the policy says."""
    consent: bool | None
    """May this request leave the device, sealed, to a verified node? ``True``: the user said yes.
    ``False``: the user said no, and nothing overrides it. ``None``: not asked, the policy says."""
    input_tokens: int
    max_output_tokens: int
    device: DeviceFacts
    cloud: CloudFacts
    found: tuple[Finding, ...] = ()
    """By the detector, in the text; it only ever raises the data class."""
    detector_us: float | None = None
    needs: frozenset[Capability] = frozenset()
    category: str | None = None
    """The app's word for this kind of request, where a bound was calibrated by kinds."""
    history_tokens: int = 0
    session_on: Destination | None = None
    standing: Standing = field(default_factory=Standing)
    unseen: bool = False
    """Nothing of the answer is shown before it is whole, so that it may be looked at first."""
    external: External = External.NEVER
    """Did the app ask for the endpoint outside?"""
    external_configured: bool = False

    @property
    def has_form(self) -> bool:
        """Are there validators that a whole answer can fail?"""
        return bool(self.needs & {Capability.TOOLS, Capability.OUTPUT_FORM})

    @property
    def circumstances(self) -> Circumstances:
        state, standing = self.device.state, self.standing
        return Circumstances(
            input_tokens=self.input_tokens,
            max_output_tokens=self.max_output_tokens,
            history_tokens=self.history_tokens,
            session_on=self.session_on,
            quota=self.cloud.quota,
            battery=state.battery,
            charging=state.charging,
            heat=state.heat,
            online=state.online,
            weight=standing.weight,
            money_left=standing.money_left,
            device_s=standing.device_s,
            cloud_s=standing.cloud_s,
            drifted=standing.drifted,
            refuted=standing.refuted,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefillObservation:
    """Of the device model after the prompt. Logarithms are natural."""

    input_tokens: int
    entropy: float
    margin: float
    top_probability: float
    hidden_state: NDArray[np.float32] | None = None  # shape (width,)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeObservation:
    """Of the buffered draft so far: one entry per token, shapes (tokens,)."""

    ids: NDArray[np.int64]
    entropy: NDArray[np.float64]
    margin: NDArray[np.float64]
    finished: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerObservation:
    """Of a whole answer that nobody has seen yet: one entry per token, shapes (tokens,)."""

    entropy: NDArray[np.float64]
    margin: NDArray[np.float64]
    top_probability: NDArray[np.float64]
    valid: bool = True
    """Did it pass the request's validators (output form, tool calls)? True where it has none."""
